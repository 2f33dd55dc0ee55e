package apps

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/portal/chart"
	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

// requests is how many requests an app got, as pages show it.
type requests struct {
	Chart                  chart.Chart
	Total, Failed, Refused string
	Most, MostFaults       string // of one step
	Minutes                int    // of a step
	Day                    bool   // else it is the last hour
	Rows                   []requestRow
	Nodes                  []countingNode
	Hidden                 bool // not for this viewer
}

type requestRow struct {
	At                     time.Time
	Known                  bool
	Total, Failed, Refused string
}

// countingNode is a node that counted.
type countingNode struct {
	Name  string
	Since time.Time
	Until *time.Time
}

// figures is an answer of the management API.
type figures struct {
	Value []struct {
		Name       struct{ Value string }
		Timeseries []struct {
			Data []struct {
				At    time.Time `json:"timeStamp"`
				Total *float64
			}
		}
	}
	Latchkey struct{ Nodes []countingNode }
}

// spans that can be shown.
const (
	hour     = "PT1H"
	day      = "P1D"
	inHour   = 5 // minutes of a row of the table
	inDay    = 4 // quarters of an hour, likewise
	quarters = 15
)

// views of the requests of an app.
type requestView struct {
	span, interval string
	minutes        int // of a step
	rows           int // steps of a row of the table
}

var (
	small  = requestView{hour, "PT5M", 5, 1} // beside each app: few points, of many apps
	ofHour = requestView{hour, "PT1M", 1, inHour}
	ofDay  = requestView{day, "PT15M", quarters, inDay}
)

// readRequests asks after the requests of an app; who may not know gets none.
func readRequests(ctx context.Context, api *client.Client, a place.App, view requestView) (r requests, err error) {
	r = requests{Day: view.span == day, Minutes: view.minutes}
	q := url.Values{"metricnames": {"Requests,Http5xx,Http4xx"}, "timespan": {view.span}, "interval": {view.interval}, "aggregation": {"Total"}, "api-version": {"2023-10-01"}}
	var f figures
	err = api.Get(ctx, a.Path("providers", "Microsoft.Insights", "metrics")+"?"+q.Encode(), &f)
	if errors.Is(err, problem.Denied) || errors.Is(err, problem.NotFound) {
		r.Hidden = true
		return r, nil
	}
	if err != nil {
		return r, err
	}
	r.Chart = chartOf(f, time.Duration(r.Minutes)*time.Minute)
	r.Nodes = f.Latchkey.Nodes
	s := r.Chart.Sum()
	r.Total, r.Failed, r.Refused = chart.Number(s.Total), chart.Number(s.Bad), chart.Number(s.Poor)
	r.Most, r.MostFaults = chart.Number(r.Chart.Most()), chart.Number(r.Chart.MostFaults())
	for _, row := range r.Chart.Rows(view.rows) {
		r.Rows = append(r.Rows, requestRow{row.At, row.Known, chart.Number(row.Total), chart.Number(row.Bad), chart.Number(row.Poor)})
	}
	return r, nil
}

// chartOf draws the figures: one point for each time that the first of them has.
func chartOf(f figures, step time.Duration) chart.Chart {
	c := chart.Chart{Step: step}
	for i, v := range f.Value {
		if len(v.Timeseries) == 0 {
			continue
		}
		for j, d := range v.Timeseries[0].Data {
			if i == 0 {
				c.Points = append(c.Points, chart.Point{At: d.At, Known: d.Total != nil})
			}
			if j >= len(c.Points) || d.Total == nil {
				continue
			}
			switch p := &c.Points[j]; strings.ToLower(v.Name.Value) {
			case "requests":
				p.Total = *d.Total
			case "http5xx":
				p.Bad = *d.Total
			case "http4xx":
				p.Poor = *d.Total
			}
		}
	}
	return c
}

// Faults reports whether something went wrong.
func (r requests) Faults() bool { return r.Chart.MostFaults() > 0 }

// Several reports whether more than one node counted.
func (r requests) Several() bool { return len(r.Nodes) > 1 }

// Young gives since when is counted, if that is not all of the time that is shown;
// else the zero time.
func (r requests) Young() (since time.Time) {
	if len(r.Nodes) == 0 {
		return since
	}
	first := slices.MinFunc(r.Nodes, func(a, b countingNode) int { return a.Since.Compare(b.Since) }).Since
	if first.After(r.Chart.From()) {
		since = first
	}
	return since
}

// trafficPart is the part of the overview that has the charts.
const trafficPart = "traffic"

// wantsTraffic reports whether only the charts are to be read again.
func wantsTraffic(v *page.Visit) bool {
	return v.Partial() && v.R.Header.Get("HX-Target") == trafficPart
}
