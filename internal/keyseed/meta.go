package keyseed

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
)

// change is one member of metadata brought to what is declared.
type change func(*accesskey.Meta)

// changes reads what an entry says about metadata, and what is wrong with it.
func (e Entry) changes() (list []change, faults []string) {
	for _, m := range []struct {
		name, text string
		read       func(string) (change, error)
	}{
		{"note", e.Note, func(s string) (change, error) { return func(m *accesskey.Meta) { m.Note = s }, nil }},
		{"owner", e.Owner, func(s string) (change, error) { return func(m *accesskey.Meta) { m.Owner = s }, nil }},
		{"notBefore", e.NotBefore, timeOf(func(m *accesskey.Meta, t time.Time) { m.NotBefore = t })},
		{"expires", e.Expires, timeOf(func(m *accesskey.Meta, t time.Time) { m.Expires = t })},
		{"cidrs", joined(e.CIDRs), readNetworks},
		{"methods", joined(e.Methods), func(s string) (change, error) {
			return func(m *accesskey.Meta) { m.Methods = split(strings.ToUpper(s)) }, nil
		}},
		{"functions", joined(e.Functions), func(s string) (change, error) {
			return func(m *accesskey.Meta) { m.Functions = split(s) }, nil
		}},
		{"rate", e.Rate, readRate},
		{"quota", e.Quota, readQuota},
		{"rotateEvery", e.RotateEvery, durationOf(func(m *accesskey.Meta, d time.Duration) { m.RotateEvery = d })},
		{"overlap", e.Overlap, durationOf(func(m *accesskey.Meta, d time.Duration) { m.Overlap = d })},
	} {
		if m.text == "" {
			continue
		}
		if m.text == None {
			m.text = ""
		}
		c, err := m.read(m.text)
		if err != nil {
			fault := err.Error()
			if !strings.HasPrefix(fault, m.name) { // says which of a list
				fault = m.name + ": " + fault
			}
			faults = append(faults, "."+fault)
			continue
		}
		list = append(list, c)
	}
	return list, faults
}

// separator stands between the entries of lists, which have none.
const separator = "\n"

// joined makes one text of a list; an empty list that is written takes away.
func joined(list []string) string {
	if list != nil && len(list) == 0 {
		return None
	}
	return strings.Join(list, separator)
}

func split(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, separator)
}

// validate gives the first thing that is wrong whatever the present key is.
func validate(e Entry, list []change) string {
	var m accesskey.Meta
	for _, c := range list {
		c(&m)
	}
	sec, ok := e.section()
	if !ok {
		return ""
	}
	if err := m.Validate(sec.Kind, m, time.Time{}); err != nil {
		return err.Error()
	}
	return ""
}

func timeOf(set func(*accesskey.Meta, time.Time)) func(string) (change, error) {
	return func(text string) (change, error) {
		t, err := readTime(text)
		return func(m *accesskey.Meta) { set(m, t) }, err
	}
}

func readTime(text string) (t time.Time, err error) {
	if text == "" {
		return t, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err = time.Parse(layout, text); err == nil {
			return t.UTC().Truncate(time.Second), nil
		}
	}
	return t, fmt.Errorf("%q is no time such as 2030-01-31T12:00:00Z or 2030-01-31", clip(text))
}

func durationOf(set func(*accesskey.Meta, time.Duration)) func(string) (change, error) {
	return func(text string) (change, error) {
		if text == "" {
			return func(m *accesskey.Meta) { set(m, 0) }, nil
		}
		d, err := clock.ParseSpan(text)
		return func(m *accesskey.Meta) { set(m, d) }, err
	}
}

func readNetworks(text string) (change, error) {
	nets, err := accesskey.ParseNetworks(split(text))
	return func(m *accesskey.Meta) { m.CIDRs = nets }, err
}

func readRate(text string) (change, error) {
	if text == "" {
		return func(m *accesskey.Meta) { m.Rate = accesskey.Rate{} }, nil
	}
	number, per, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	d, bad := clock.ParseSpan(per)
	if err != nil || bad != nil || n <= 0 {
		return nil, fmt.Errorf("%q is no number and duration such as 10/1m", clip(text))
	}
	return func(m *accesskey.Meta) { m.Rate = accesskey.Rate{N: n, Per: d} }, nil
}

func readQuota(text string) (change, error) {
	if text == "" {
		return func(m *accesskey.Meta) { m.Quota = accesskey.Quota{} }, nil
	}
	number, per, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	q := accesskey.Quota{N: n, Per: accesskey.Period(per)}
	if err != nil || n <= 0 || q.Per != accesskey.Day && q.Per != accesskey.Month {
		return nil, errors.New("use a number and day or month, such as 1000/day")
	}
	return func(m *accesskey.Meta) { m.Quota = q }, nil
}
