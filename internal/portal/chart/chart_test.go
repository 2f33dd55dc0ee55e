package chart_test

import (
	"encoding/xml"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/portal/chart"
)

func points(totals ...float64) (list []chart.Point) {
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for i, n := range totals {
		list = append(list, chart.Point{At: at.Add(time.Duration(i) * time.Minute), Known: n >= 0, Total: max(n, 0), Bad: max(n, 0) / 4, Poor: max(n, 0) / 2})
	}
	return list
}

// TestPathsStayWithinThePicture, whatever the numbers are.
func TestPathsStayWithinThePicture(t *testing.T) {
	moves := regexp.MustCompile(`M([0-9.]+) ([0-9.]+)v-([0-9.]+)h([0-9.]+)v`)
	for name, list := range map[string][]chart.Point{
		"none": nil, "nothing": points(0, 0), "one": points(7), "small beside large": points(1, 1e9), "many": points(make([]float64, 999)...), "unknown": points(-1, 3, -1),
	} {
		c := chart.Chart{Points: list, Step: time.Minute}
		for what, path := range map[string]string{"totals": c.Totals(), "bads": c.Bads(), "poors": c.Poors(), "bad of all": c.BadOfAll()} {
			if strings.ContainsAny(path, "eNI") {
				t.Errorf("%s, %s: %s", name, what, path)
			}
			for _, m := range moves.FindAllStringSubmatch(path, -1) {
				x, y, high, wide := number(t, m[1]), number(t, m[2]), number(t, m[3]), number(t, m[4])
				if x < 0 || x+wide > chart.Width || y > chart.Height || y-high < 0 || high < 1 {
					t.Errorf("%s, %s: %v", name, what, m)
				}
			}
		}
	}
	if c := (chart.Chart{Points: points(5, 0, 5)}); strings.Count(c.Totals(), "M") != 2 {
		t.Error("what was nothing is drawn")
	}
	if c := (chart.Chart{Points: points(-1, 3, -1)}); strings.Count(c.Unknown(), "M") != 2 {
		t.Error("what is not known is not marked")
	}
	if err := xml.Unmarshal([]byte("<p>"+chart.Chart{Points: points(1, 2)}.Totals()+"</p>"), new(string)); err != nil {
		t.Error(err)
	}
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRowsAddUpAndBeginWithTheNewest(t *testing.T) {
	c := chart.Chart{Points: points(4, 8, 12, 16, -1), Step: time.Minute}
	rows := c.Rows(2)
	if len(rows) != 3 || rows[0].Known || rows[1].Total != 28 || rows[2].Total != 12 || rows[2].Bad != 3 || rows[2].Poor != 6 || !rows[2].At.Equal(c.From()) {
		t.Errorf("%+v", rows)
	}
	if s := c.Sum(); s.Total != 40 || c.Most() != 16 || c.MostFaults() != 12 || c.To().Sub(c.From()) != 5*time.Minute || !c.Known() {
		t.Errorf("%+v", s)
	}
	if got := chart.Number(1234567.4); got != "1\u202f234\u202f567" {
		t.Errorf("%q", got)
	}
}
