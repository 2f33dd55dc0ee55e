package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyinfo"
	"github.com/latchkey/latchkey/internal/problem"
)

// none takes a note or restriction away.
const none = "none"

// metaFlags are the flags for what is kept about a key besides its value.
type metaFlags struct{ changes []func(*accesskey.Meta) }

func (f *metaFlags) any() bool { return len(f.changes) > 0 }

func (f *metaFlags) apply(m *accesskey.Meta) error {
	for _, change := range f.changes {
		change(m)
	}
	if m.Rate.N == 0 && m.Rate.Burst > 0 {
		return problem.New(problem.Invalid, "rate.burst: there is no rate that it could be of").WithNext("give --rate, too")
	}
	return nil
}

// metaFlag reads one flag into a change.
type metaFlag struct {
	name, usage string
	read        func(text string) (func(*accesskey.Meta), error)
}

func (f *metaFlags) addTo(c *cobra.Command) {
	for _, m := range metaTable {
		c.Flags().Func(m.name, m.usage, func(text string) error {
			if strings.EqualFold(text, none) {
				text = ""
			}
			change, err := m.read(text)
			f.changes = append(f.changes, change)
			return err
		})
	}
}

var metaTable = []metaFlag{
	{"note", "what the key is for", func(s string) (func(*accesskey.Meta), error) {
		return func(m *accesskey.Meta) { m.Note = s }, nil
	}},
	{"owner", "who to ask about the key", func(s string) (func(*accesskey.Meta), error) {
		return func(m *accesskey.Meta) { m.Owner = s }, nil
	}},
	{"expires", "when the key ends: a time, or 30d from now", func(s string) (func(*accesskey.Meta), error) {
		t, err := metaTime(s)
		return func(m *accesskey.Meta) { m.Expires = t }, err
	}},
	{"not-before", "when the key begins to work: a time, or 12h from now", func(s string) (func(*accesskey.Meta), error) {
		t, err := metaTime(s)
		return func(m *accesskey.Meta) { m.NotBefore = t }, err
	}},
	{"cidr", "networks the key works from, with commas between", func(s string) (func(*accesskey.Meta), error) {
		list, err := accesskey.ParseNetworks(commaList(s))
		return func(m *accesskey.Meta) { m.CIDRs = list }, err
	}},
	{"method", "HTTP methods the key works with, with commas between", func(s string) (func(*accesskey.Meta), error) {
		list := commaList(strings.ToUpper(s))
		return func(m *accesskey.Meta) { m.Methods = list }, keyinfo.CheckMethods(list)
	}},
	{"only-function", "functions that a host key opens, with commas between", func(s string) (func(*accesskey.Meta), error) {
		return func(m *accesskey.Meta) { m.Functions = commaList(s) }, nil
	}},
	{"rate", "how often the key may be used, such as 10/1m", func(s string) (func(*accesskey.Meta), error) {
		r, err := readRate(s)
		return func(m *accesskey.Meta) {
			if !r.IsZero() {
				r.Burst = m.Rate.Burst
			}
			m.Rate = r
		}, err
	}},
	{"burst", "uses at once that --rate allows, such as 20 (default: the number of --rate)", func(s string) (func(*accesskey.Meta), error) {
		n, err := readBurst(s)
		return func(m *accesskey.Meta) { m.Rate.Burst = n }, err
	}},
	{"quota", "uses in each day or month, such as 1000/day", func(s string) (func(*accesskey.Meta), error) {
		q, err := readQuota(s)
		return func(m *accesskey.Meta) { m.Quota = q }, err
	}},
	{"rotate-every", "the age at which a running app rotates the key, such as 90d", func(s string) (func(*accesskey.Meta), error) {
		d, err := maybeDays(s)
		return func(m *accesskey.Meta) { m.RotateEvery = d }, err
	}},
	{"rotation-overlap", "how long the old value works after a rotation by --rotate-every, 1s to 90d (default 24h)", func(s string) (func(*accesskey.Meta), error) {
		d, err := maybeDays(s)
		return func(m *accesskey.Meta) { m.Overlap = d }, err
	}},
}

// maybeDays reads a duration; none is 0.
func maybeDays(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	return clock.ParseSpan(text)
}

func readBurst(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > accesskey.MaxCount {
		return 0, errors.New("use a number of uses, such as 20")
	}
	return n, nil
}

func commaList(text string) (list []string) {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// metaTime reads a time, or a duration from now.
func metaTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if _, err := clock.ParseSpan(text); err == nil {
		return endTime("", text, time.Now())
	}
	t, err := endTime(text, "", time.Now())
	if err != nil {
		return t, errors.New("use 2030-01-31T12:00:00Z, 2030-01-31 or 30d")
	}
	return t, nil
}

func readRate(text string) (accesskey.Rate, error) {
	if text == "" {
		return accesskey.Rate{}, nil
	}
	number, per, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	d, bad := clock.ParseSpan(per)
	if err != nil || bad != nil || n <= 0 {
		return accesskey.Rate{}, errors.New("use a number and a duration, such as 10/1m")
	}
	return accesskey.Rate{N: n, Per: d}, nil
}

func readQuota(text string) (accesskey.Quota, error) {
	if text == "" {
		return accesskey.Quota{}, nil
	}
	number, per, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	q := accesskey.Quota{N: n, Per: accesskey.Period(per)}
	if err != nil || n <= 0 || (q.Per != accesskey.Day && q.Per != accesskey.Month) {
		return q, errors.New("use a number and day or month, such as 1000/day")
	}
	return q, nil
}

// restrictKey sets what the flags say of a key, whose value stays.
func (f setFlags) restrictKey(ctx context.Context, env *Env, k *oneKey) (accesskey.Key, error) {
	was, err := k.get(ctx)
	if err != nil {
		return accesskey.Key{}, err
	}
	key, err := k.keys.SetMeta(ctx, k.sec, k.name, f.meta.apply)
	if err == nil {
		fmt.Fprintln(env.Stderr, "changed; its value stays")
	}
	if key.Value == "" { // not told again
		key.Value = was.Value
	}
	return key, err
}
