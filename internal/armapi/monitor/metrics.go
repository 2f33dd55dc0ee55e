package monitor

import (
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/traffic"
)

// series is a figure with its values.
type series struct {
	ID          string       `json:"id"`
	Type        string       `json:"type"`
	Name        text         `json:"name"`
	Description string       `json:"displayDescription"`
	Unit        string       `json:"unit"`
	Timeseries  []timeseries `json:"timeseries"`
	ErrorCode   string       `json:"errorCode"`
}

type timeseries struct {
	Metadata []struct{} `json:"metadatavalues"`
	Data     []value    `json:"data"`
}

// answer is what a query is answered with. Azure has all of it but Latchkey.
type answer struct {
	Cost      int      `json:"cost"`
	Timespan  string   `json:"timespan"`
	Interval  string   `json:"interval"`
	Namespace string   `json:"namespace"`
	Region    string   `json:"resourceregion"`
	Value     []series `json:"value"`
	Latchkey  counting `json:"latchkey"`
}

// counting says where the figures come from.
type counting struct {
	Since time.Time `json:"since"` // nothing is known of before
	Nodes []node    `json:"nodes"` // whose counts are in the figures
}

func (p *Provider) metrics(c *arm.Call) (arm.Reply, error) {
	t, err := p.find(c)
	if err != nil {
		return arm.Reply{}, err
	}
	q, err := p.query(c, t)
	if err != nil {
		return arm.Reply{}, err
	}
	at, sums := q.points(p.cfg.Clock.Now(), func(from time.Time, step time.Duration, count int) []traffic.Sum {
		return p.cfg.Read(t.name, from, step, count)
	})
	nodes := p.nodes()
	a := answer{
		Cost: max(int(q.to.Sub(q.from)/time.Minute)-1, 0), Interval: q.interval, Namespace: t.kind, Region: t.location,
		Timespan: q.from.Format(time.RFC3339) + "/" + q.to.Format(time.RFC3339), Latchkey: counting{since(nodes), nodes},
	}
	for _, m := range q.figures {
		s := series{
			ID: t.figure("metrics", m), Type: "Microsoft.Insights/metrics", Name: text{m.name, m.shown}, Description: m.about, Unit: m.unit,
			Timeseries: []timeseries{{[]struct{}{}, q.values(m, at, sums, a.Latchkey.Since, p.cfg.Clock.Now())}}, ErrorCode: "Success",
		}
		a.Value = append(a.Value, s)
	}
	return arm.OK(a), nil
}

// values gives the values of a figure. Where nothing is known there is none: before
// counting began, what is not kept any more, and what is to come.
func (q *query) values(m metric, at []time.Time, sums []traffic.Sum, since, now time.Time) []value {
	kept := traffic.Retention
	if q.step < 15*time.Minute && q.interval != full {
		kept = traffic.MinuteRetention
	}
	aggregations := q.aggregations
	if len(aggregations) == 0 {
		aggregations = []string{m.primary}
	}
	list := []value{}
	for i, t := range at {
		v := value{At: t}
		ends := t.Add(q.step)
		if q.interval == full {
			ends = q.to // times can be longer than durations
		}
		if ends.After(since) && ends.After(now.Add(-kept)) && !t.After(now) {
			m.fill(&v, sums[i], aggregations)
		}
		list = append(list, v)
	}
	return list
}

// definition is a figure as it is described.
type definition struct {
	ID             string         `json:"id"`
	ResourceID     string         `json:"resourceId"`
	Namespace      string         `json:"namespace"`
	Category       string         `json:"category"`
	Name           text           `json:"name"`
	Description    string         `json:"displayDescription"`
	Required       bool           `json:"isDimensionRequired"`
	Unit           string         `json:"unit"`
	Primary        string         `json:"primaryAggregationType"`
	Supported      []string       `json:"supportedAggregationTypes"`
	Availabilities []availability `json:"metricAvailabilities"`
}

type availability struct {
	Grain     string `json:"timeGrain"`
	Retention string `json:"retention"`
}

func (p *Provider) definitions(c *arm.Call) (arm.Reply, error) {
	t, err := p.find(c)
	if err == nil {
		err = p.namespaceOf(c, t)
	}
	if err != nil {
		return arm.Reply{}, err
	}
	var kept []availability
	for _, g := range grains() {
		a := availability{g.name, "P1D"}
		if g.span < 15*time.Minute {
			a.Retention = "PT1H"
		}
		kept = append(kept, a)
	}
	list := []definition{}
	for _, m := range figures() {
		list = append(list, definition{
			ID: t.figure("metricdefinitions", m), ResourceID: t.id, Namespace: t.kind, Category: "Requests", Name: text{m.name, m.shown},
			Description: m.about, Unit: m.unit, Primary: m.primary, Supported: m.aggregations(), Availabilities: kept,
		})
	}
	return arm.OK(map[string]any{"value": list}), nil
}

func (p *Provider) namespaces(c *arm.Call) (arm.Reply, error) {
	t, err := p.find(c)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(map[string]any{"value": []any{map[string]any{
		"id": t.id + "/providers/microsoft.insights/metricNamespaces/" + t.kind, "type": "Microsoft.Insights/metricNamespaces", "name": t.kind,
		"classification": "Platform", "properties": map[string]any{"metricNamespaceName": t.kind},
	}}}), nil
}
