// Package chart owns pictures of numbers over time: what they need to be drawn as
// SVG, made on the server, with what they say in words and as a table beside it. It
// does not know what is counted, or by whom.
package chart

import (
	"embed"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/portal/page"
)

//go:embed templates
var templates embed.FS

// Parts adds the parts "spark" and "chart" to the templates of a page; both show a
// [Chart].
func Parts(t *page.Template) error { return t.Add(templates, "templates/chart.html") }

// Point is what was counted from a time on.
type Point struct {
	At    time.Time
	Known bool // else nothing is known of that time
	Total float64
	Bad   float64 // of these
	Poor  float64 // likewise, and not bad
}

// Chart is a picture of points that follow each other at the same distance.
type Chart struct {
	Points []Point
	Step   time.Duration
}

// Size of the drawing, in units that the page scales.
const (
	Width  = 240
	Height = 36
)

// Sum adds up all points.
func (c Chart) Sum() (s Point) {
	for _, p := range c.Points {
		s.Total, s.Bad, s.Poor = s.Total+p.Total, s.Bad+p.Bad, s.Poor+p.Poor
	}
	if len(c.Points) > 0 {
		s.At = c.Points[0].At
	}
	return s
}

// Known reports whether there is anything to show.
func (c Chart) Known() bool {
	for _, p := range c.Points {
		if p.Known {
			return true
		}
	}
	return false
}

// Most gives the greatest number of one point.
func (c Chart) Most() (most float64) {
	for _, p := range c.Points {
		most = max(most, p.Total)
	}
	return most
}

// MostFaults gives the greatest number of faults of one point.
func (c Chart) MostFaults() (most float64) {
	for _, p := range c.Points {
		most = max(most, p.Bad+p.Poor)
	}
	return most
}

// From and To give the ends of the time that is shown.
func (c Chart) From() time.Time {
	if len(c.Points) == 0 {
		return time.Time{}
	}
	return c.Points[0].At
}

// To is the end of the time that is shown; see [Chart.From].
func (c Chart) To() time.Time {
	if len(c.Points) == 0 {
		return time.Time{}
	}
	return c.Points[len(c.Points)-1].At.Add(c.Step)
}

// Totals gives the path of bars for all that was counted.
func (c Chart) Totals() string {
	return c.bars(c.Most(), func(p Point) (from, to float64) { return 0, p.Total })
}

// BadOfAll gives the path of bars for what was bad, on the scale of [Chart.Totals].
func (c Chart) BadOfAll() string {
	return c.bars(c.Most(), func(p Point) (from, to float64) { return 0, p.Bad })
}

// Bads gives the path of bars for what was bad, and Poors of those upon them.
func (c Chart) Bads() string {
	return c.bars(c.MostFaults(), func(p Point) (from, to float64) { return 0, p.Bad })
}

// Poors is described at [Chart.Bads].
func (c Chart) Poors() string {
	return c.bars(c.MostFaults(), func(p Point) (from, to float64) { return p.Bad, p.Bad + p.Poor })
}

// Unknown gives the path of a line below the times of which nothing is known.
func (c Chart) Unknown() string {
	var b strings.Builder
	for i, p := range c.Points {
		if !p.Known {
			x, wide := c.place(i)
			b.WriteString("M" + number(x) + " " + number(Height) + "h" + number(wide+1) + "v-1h-" + number(wide+1) + "z")
		}
	}
	return b.String()
}

// bars draws a bar for each point from one height to another, where most is as high
// as there is. What is there can be seen, however small.
func (c Chart) bars(most float64, of func(Point) (from, to float64)) string {
	if most <= 0 {
		return ""
	}
	const top = Height - 1
	var b strings.Builder
	for i, p := range c.Points {
		from, to := of(p)
		if to <= from {
			continue
		}
		x, wide := c.place(i)
		low := from / most * top
		high := max((to-from)/most*top, 1)
		low = min(low, top-high)
		b.WriteString("M" + number(x) + " " + number(Height-low) + "v-" + number(high) + "h" + number(wide) + "v" + number(high) + "z")
	}
	return b.String()
}

// place gives where a bar begins and how wide it is.
func (c Chart) place(i int) (x, wide float64) {
	each := float64(Width) / float64(len(c.Points))
	return float64(i) * each, max(each-1, each/2)
}

func number(f float64) string {
	return strconv.FormatFloat(float64(int64(f*10+.5))/10, 'f', -1, 64)
}

// Rows gives the points added up in rows of count each, for a table, the newest
// first.
func (c Chart) Rows(count int) []Point {
	var rows []Point
	for from := 0; from < len(c.Points); from += count {
		part := Chart{Points: c.Points[from:min(from+count, len(c.Points))]}
		row := part.Sum()
		row.Known = part.Known()
		rows = append([]Point{row}, rows...)
	}
	return rows
}

// Number shows a number as people read it: whole, and grouped.
func Number(f float64) string {
	text := strconv.FormatInt(int64(f+.5), 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}
