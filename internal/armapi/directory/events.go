package directory

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/problem"
)

// events lists the audit record by the query's from, to (RFC 3339), category,
// principal, scope, action, outcome, correlationId, order (newest or oldest) and
// $top.
func (s *Service) events(c *arm.Call) (arm.Reply, error) {
	f := audit.Filter{
		Category: audit.Category(c.Query.Get("category")), Principal: c.Query.Get("principal"),
		Scope: c.Query.Get("scope"), Action: c.Query.Get("action"), Outcome: c.Query.Get("outcome"), Correlation: c.Query.Get("correlationid"),
	}
	var err error
	if f.From, err = timeOf("from", c.Query.Get("from")); err != nil {
		return arm.Reply{}, err
	}
	if f.To, err = timeOf("to", c.Query.Get("to")); err != nil {
		return arm.Reply{}, err
	}
	switch order := strings.ToLower(c.Query.Get("order")); order {
	case "", "newest":
	case "oldest":
		f.Oldest = true
	default:
		return arm.Reply{}, problem.New(problem.Invalid, "order must be newest or oldest")
	}
	list, next, err := s.page(c, f)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.List(c, list, next), nil
}

// decision gives an event by the id that an answer has, for who asks why a request
// was refused.
func (s *Service) decision(c *arm.Call) (arm.Reply, error) {
	e, err := s.cfg.Audit.Find(c.Context(), c.Params["id"])
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(e), nil
}

// page lists what a filter chooses from where the call's skip token says.
func (s *Service) page(c *arm.Call, f audit.Filter) ([]audit.Entry, string, error) {
	token, err := c.SkipToken()
	if err != nil {
		return nil, "", err
	}
	if token != "" {
		if f.After, err = strconv.ParseUint(token, 10, 64); err != nil {
			return nil, "", problem.New(problem.Invalid, "$skiptoken is none that this server gave")
		}
	}
	if f.Limit, err = c.Top(maxPage); err != nil {
		return nil, "", err
	}
	list, next, err := s.cfg.Audit.List(c.Context(), f)
	if err != nil || next == 0 {
		return list, "", err
	}
	return list, strconv.FormatUint(next, 10), nil
}

// timeOf reads a time, with or without fractions, zone and time of day.
func timeOf(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	text = strings.ReplaceAll(text, " ", "+") // a + that was not escaped in the query
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, problem.New(problem.Invalid, fmt.Sprintf("%s must be a time such as 2026-01-31T12:00:00Z", name))
}

func (s *Service) verify(c *arm.Call) (arm.Reply, error) {
	report, err := s.cfg.Audit.Verify(c.Context(), nil)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(report), nil
}

// maxExport bounds an export by this API, which keeps it in memory to answer it
// whole or not at all.
const maxExport = 64 << 20

func (s *Service) export(c *arm.Call) (arm.Reply, error) {
	var b bounded
	if err := s.cfg.Audit.Export(c.Context(), &b); err != nil {
		return arm.Reply{}, err
	}
	return arm.Reply{Raw: b.Bytes(), RawType: "application/x-ndjson"}, nil
}

type bounded struct{ bytes.Buffer }

// Write refuses what is too much.
func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxExport {
		return 0, problem.New(problem.TooLarge, fmt.Sprintf("the audit record is over %d MiB, too much for one answer", maxExport>>20)).
			WithNext("read it in pages from Latchkey.Audit/events")
	}
	return b.Buffer.Write(p)
}
