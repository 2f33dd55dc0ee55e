package monitor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/traffic"
)

// Bounds of a query.
const (
	maxNames  = 20
	maxPoints = 2880 // two days by the minute
)

// full is the interval that makes one value of the whole time.
const full = "FULL"

// grain is an interval that values can have.
type grain struct {
	name string // ISO 8601, as clients send it
	span time.Duration
	text string // as messages have it
}

func grains() []grain {
	return []grain{
		{"PT1M", time.Minute, "00:01:00"}, {"PT5M", 5 * time.Minute, "00:05:00"}, {"PT15M", 15 * time.Minute, "00:15:00"},
		{"PT30M", 30 * time.Minute, "00:30:00"}, {"PT1H", time.Hour, "01:00:00"}, {"PT6H", 6 * time.Hour, "06:00:00"},
		{"PT12H", 12 * time.Hour, "12:00:00"}, {"P1D", 24 * time.Hour, "1.00:00:00"},
	}
}

// query is what a call asks for.
type query struct {
	figures      []metric
	aggregations []string // none: the primary one of each
	from, to     time.Time
	step         time.Duration
	interval     string
}

func (p *Provider) query(c *arm.Call, t target) (q query, err error) {
	if err := p.namespaceOf(c, t); err != nil {
		return q, err
	}
	if c.Query.Get("$filter") != "" {
		return q, bad("Metric: %s does not support requested dimension combination: figures are not kept by dimension, send no $filter.", c.Query.Get("metricnames"))
	}
	if q.figures, err = figuresOf(c.Query.Get("metricnames"), t); err != nil {
		return q, err
	}
	if q.aggregations, err = aggregationsOf(c.Query.Get("aggregation"), q.figures); err != nil {
		return q, err
	}
	if q.from, q.to, err = spanOf(c.Query.Get("timespan"), p.cfg.Clock.Now()); err != nil {
		return q, err
	}
	return q, q.grain(c.Query.Get("interval"), strings.EqualFold(c.Query.Get("autoadjusttimegrain"), "true"))
}

func (p *Provider) namespaceOf(c *arm.Call, t target) error {
	if asked := c.Query.Get("metricnamespace"); asked != "" && !strings.EqualFold(asked, t.kind) {
		return bad("Detected invalid value %.100q for query parameter 'metricnamespace'; the one there is: %s.", asked, t.kind)
	}
	return nil
}

func figuresOf(names string, t target) (list []metric, err error) {
	all := figures()
	if strings.TrimSpace(names) == "" {
		return all[:1], nil
	}
	for name := range strings.SplitSeq(names, ",") {
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(all, func(m metric) bool { return strings.EqualFold(m.name, name) })
		if i < 0 {
			var valid []string
			for _, m := range all {
				valid = append(valid, m.name)
			}
			return nil, bad("Failed to find metric configuration for provider: Microsoft.Web, resource Type: sites, metric: %.100s, Valid metrics: %s", name, strings.Join(valid, ","))
		}
		if !slices.ContainsFunc(list, func(m metric) bool { return m.name == all[i].name }) {
			list = append(list, all[i])
		}
	}
	if len(list) > maxNames {
		return nil, bad("At most %d metrics can be asked for at a time.", maxNames)
	}
	return list, nil
}

func aggregationsOf(text string, of []metric) (list []string, err error) {
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name == "" || strings.EqualFold(name, "none") {
			continue
		}
		for _, m := range of {
			i := slices.IndexFunc(m.aggregations(), func(a string) bool { return strings.EqualFold(a, name) })
			if i < 0 {
				return nil, bad("Metric: %s does not support the aggregation %.100q, supported ones are: %s", m.name, name, strings.Join(m.aggregations(), ","))
			}
			if a := m.aggregations()[i]; !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
	}
	return list, nil
}

// spanOf reads "start/end", or how long before now to begin. Without any it is the
// last hour.
func spanOf(text string, now time.Time) (from, to time.Time, err error) {
	now = now.UTC()
	if text == "" {
		return now.Add(-time.Hour), now, nil
	}
	start, end, both := strings.Cut(text, "/")
	if !both {
		long, ok := durationOf(text)
		if !ok {
			return from, to, badSpan(text)
		}
		return now.Add(-long), now, nil
	}
	if from, err = timeOf(start); err != nil {
		return from, to, badSpan(text)
	}
	if to, err = timeOf(end); err != nil || !from.Before(to) {
		return from, to, badSpan(text)
	}
	return from, to, nil
}

func badSpan(text string) error {
	return bad("The timespan %.100q is invalid: it is 'start/end' in ISO 8601 with the start before the end, such as 2026-01-01T12:00:00Z/2026-01-01T13:00:00Z, or a duration such as PT1H.", text)
}

// timeOf reads times as clients write them, without a zone too, which is UTC. A plus
// that came as a space is a plus.
func timeOf(text string) (time.Time, error) {
	text = strings.ReplaceAll(strings.TrimSpace(text), " ", "+")
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("no time")
}

// durationOf reads ISO 8601 durations of days, hours and minutes, up to a month.
func durationOf(text string) (d time.Duration, ok bool) {
	rest, found := strings.CutPrefix(strings.ToUpper(text), "P")
	if !found || len(text) > 20 {
		return 0, false
	}
	units, number, digits := map[byte]time.Duration{'D': 24 * time.Hour}, int64(0), false
	for i := range len(rest) {
		switch ch := rest[i]; {
		case ch == 'T' && !digits:
			units = map[byte]time.Duration{'H': time.Hour, 'M': time.Minute}
		case ch >= '0' && ch <= '9' && number < 100_000:
			number, digits = number*10+int64(ch-'0'), true
		case digits && units[ch] > 0:
			d += time.Duration(number) * units[ch]
			number, digits = 0, false
		default:
			return 0, false
		}
	}
	return d, !digits && d > 0 && d <= 31*24*time.Hour
}

// grain sets the interval of values. adjust takes a longer one where there would be
// too many values, or none that is asked for.
func (q *query) grain(text string, adjust bool) error {
	if strings.EqualFold(text, full) {
		q.interval, q.step = full, q.to.Sub(q.from)
		return nil
	}
	if text == "" {
		text = "PT1M"
	}
	var supported []string
	for _, g := range grains() {
		supported = append(supported, g.text)
		long, _ := durationOf(text)
		if g.span == long || adjust && g.span > long {
			if q.to.Sub(q.from)/g.span > maxPoints {
				if adjust {
					continue
				}
				return bad("The timespan has more than %d values at the interval %s; ask for a longer interval or a shorter timespan.", maxPoints, g.name)
			}
			q.interval, q.step = g.name, g.span
			return nil
		}
	}
	return bad("Invalid time grain duration: %.100s, supported ones are: %s", text, strings.Join(supported, ","))
}

// points gives the times of the values and what was counted then. now bounds what of a
// very long time is read: it has counts in the last day only.
func (q *query) points(now time.Time, read func(from time.Time, step time.Duration, count int) []traffic.Sum) (at []time.Time, sums []traffic.Sum) {
	if q.interval == full {
		step := time.Minute
		if q.to.Sub(q.from) > traffic.MinuteRetention {
			step = 15 * time.Minute
		}
		from, to := later(q.from, now.Add(-traffic.Retention)).Truncate(step), q.to
		if end := now.Add(step); to.After(end) {
			to = end
		}
		var total traffic.Sum
		for _, s := range read(from, step, int(max((to.Sub(from)+step-1)/step, 0))) {
			total = total.Plus(s)
		}
		return []time.Time{q.from.Truncate(step)}, []traffic.Sum{total}
	}
	first := q.from.Truncate(q.step)
	count := int((q.to.Sub(first) + q.step - 1) / q.step)
	for i := range count {
		at = append(at, first.Add(time.Duration(i)*q.step))
	}
	return at, read(first, q.step, count)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
