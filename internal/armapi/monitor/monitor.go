// Package monitor serves what Microsoft.Insights tells of apps: how many requests
// they got, how those ended and how long they took, and which such figures there
// are. Figures are what Azure's clients decode. It does not count anything, and
// knows neither nodes nor charts.
package monitor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/traffic"
)

// Config is what the operations work with; all of it is required.
type Config struct {
	// Find gives the name of a resource as its requests are counted, and its region;
	// problem.NotFound if it is not there. It is asked for types that are counted.
	Find func(ctx context.Context, id resource.ID) (name, location string, err error)
	// Read adds up what was counted; see [traffic.Book.Read].
	Read func(name string, from time.Time, step time.Duration, count int) []traffic.Sum
	// Nodes gives the nodes that counted, the one that answers first.
	Nodes func() []traffic.Node
	Clock clock.Clock
}

// Provider has the operations.
type Provider struct{ cfg Config }

// New makes a provider.
func New(cfg Config) *Provider { return &Provider{cfg} }

const base = "{scope}/providers/Microsoft.Insights/"

// Operations gives what is to be served.
func (p *Provider) Operations() []arm.Operation {
	return []arm.Operation{
		{Method: "GET", Pattern: base + "metrics", Scope: 1, Handler: p.metrics},
		{Method: "GET", Pattern: base + "metricDefinitions", Scope: 1, Handler: p.definitions},
		{Method: "GET", Pattern: base + "metricNamespaces", Scope: 1, Handler: p.namespaces},
	}
}

// Providers gives what the providers operations show of this package.
func Providers() []arm.Provider {
	versions := []string{"2024-02-01", "2023-10-01", "2021-05-01", "2019-07-01", "2018-01-01"}
	p := arm.Provider{Namespace: "Microsoft.Insights"}
	for _, name := range []string{"metrics", "metricDefinitions", "metricNamespaces"} {
		p.Types = append(p.Types, arm.ProviderType{Name: name, APIVersions: versions})
	}
	return []arm.Provider{p}
}

// counted are the types of resources whose requests are counted.
var counted = []string{"Microsoft.Web/sites"}

// target is what a call is about.
type target struct{ id, kind, name, location string }

// find finds it. Other types are refused as Azure does.
func (p *Provider) find(c *arm.Call) (t target, err error) {
	id := c.Scope
	i := slices.IndexFunc(counted, func(kind string) bool { return strings.EqualFold(kind, id.Type()) })
	if i < 0 {
		return t, bad("Failed to find metric configuration for resource type %q; requests are counted for: %s.", id.Type(), strings.Join(counted, ", "))
	}
	t.id, t.kind = id.String(), counted[i]
	t.name, t.location, err = p.cfg.Find(c.Context(), id)
	return t, err
}

func bad(format string, args ...any) error {
	return arm.Faultf(http.StatusBadRequest, "BadRequest", format, args...)
}

// text is a name with its form for people.
type text struct {
	Value     string `json:"value"`
	Localized string `json:"localizedValue"`
}

// metric is a figure that there is.
type metric struct {
	name, shown, about, unit string
	primary                  string
	of                       func(traffic.Sum) float64
	seconds                  bool // its values are times; else numbers of requests
}

func count(name, shown, about string, of func(traffic.Sum) uint64) metric {
	return metric{name: name, shown: shown, about: about, unit: "Count", primary: "Total", of: func(s traffic.Sum) float64 { return float64(of(s)) }}
}

func class(c traffic.Class) func(traffic.Sum) uint64 {
	return func(s traffic.Sum) uint64 { return s.Counts[c] }
}

func seconds(name, shown, about string) metric {
	return metric{name: name, shown: shown, about: about, unit: "Seconds", primary: "Average", seconds: true,
		of: func(s traffic.Sum) float64 { return float64(s.Micros) / 1e6 }}
}

// figures gives the figures that there are, the one that is meant without a name
// first.
func figures() []metric {
	return []metric{
		count("Requests", "Requests", "The total number of requests, whatever their status.", traffic.Sum.Requests),
		count("Http101", "Http 101", "Requests that switched to another protocol.", class(traffic.S1xx)),
		count("Http2xx", "Http 2xx", "Requests answered with a status from 200 to 299.", class(traffic.S2xx)),
		count("Http3xx", "Http 3xx", "Requests answered with a status from 300 to 399.", class(traffic.S3xx)),
		count("Http401", "Http 401", "Requests answered with status 401.", class(traffic.S401)),
		count("Http403", "Http 403", "Requests answered with status 403.", class(traffic.S403)),
		count("Http404", "Http 404", "Requests answered with status 404.", class(traffic.S404)),
		count("Http406", "Http 406", "Requests answered with status 406.", class(traffic.S406)),
		count("Http4xx", "Http 4xx", "Requests answered with a status from 400 to 499.", traffic.Sum.Refused),
		count("Http5xx", "Http Server Errors", "Requests answered with a status from 500 to 599.", traffic.Sum.Failed),
		seconds("HttpResponseTime", "Response Time", "The time that answering took, in seconds."),
		seconds("AverageResponseTime", "Average Response Time (deprecated)", "The time that answering took, in seconds; HttpResponseTime has the same values."),
	}
}

// aggregations that a figure has.
func (m metric) aggregations() []string {
	if m.seconds {
		return []string{"Average", "Count", "Total"}
	}
	return []string{"Total", "Count"}
}

// value is a point of a series. What was not counted yet has a time only.
type value struct {
	At      time.Time `json:"timeStamp"`
	Total   *float64  `json:"total,omitempty"`
	Average *float64  `json:"average,omitempty"`
	Count   *float64  `json:"count,omitempty"`
}

// fill sets the aggregations that are asked for.
func (m metric) fill(v *value, s traffic.Sum, aggregations []string) {
	n, total := float64(s.Requests()), m.of(s)
	if !m.seconds {
		n = total // each request is a sample
	}
	for _, a := range aggregations {
		switch a {
		case "Total":
			v.Total = &total
		case "Count":
			v.Count = &n
		case "Average":
			average := 0.0
			if n > 0 {
				average = total / n
			}
			v.Average = &average
		}
	}
}

// node is a node that counted, as it is shown.
type node struct {
	Name  string     `json:"name"`
	Since time.Time  `json:"since"`
	Until *time.Time `json:"until,omitempty"`
}

func (p *Provider) nodes() []node {
	list := []node{}
	for _, n := range p.cfg.Nodes() {
		shown := node{Name: n.Name, Since: n.Since.UTC()}
		if !n.Until.IsZero() {
			shown.Until = &n.Until
		}
		list = append(list, shown)
	}
	return list
}

// since is when the first of the nodes began to count.
func since(nodes []node) time.Time {
	first := nodes[0].Since
	for _, n := range nodes {
		if n.Since.Before(first) {
			first = n.Since
		}
	}
	return first
}

// name gives the resource name of a figure, for ids.
func (t target) figure(kind string, m metric) string {
	return fmt.Sprintf("%s/providers/Microsoft.Insights/%s/%s", t.id, kind, m.name)
}
