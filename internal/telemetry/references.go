package telemetry

import "github.com/prometheus/client_golang/prometheus"

// ReferenceFigures are the figures of vault references of a node.
type ReferenceFigures struct {
	InFlight int              // fetches going on
	Queued   int              // fetches that wait for a place
	Fetches  map[string]int64 // that ended, by status
	Restarts int64            // of apps, because a value changed
	Apps     int              // with references; 0 on nodes that do not refresh
}

// CountReferences shows the figures that read gives. It is asked at each scrape and
// must not block. Call it once.
func (m *Metrics) CountReferences(read func() ReferenceFigures) {
	m.registry.MustRegister(references{read})
}

// references collects the figures of vault references.
type references struct{ read func() ReferenceFigures }

var (
	fetchingDesc = prometheus.NewDesc("latchkey_reference_fetches_in_flight", "Secrets being read for references.", nil, nil)
	queuedDesc   = prometheus.NewDesc("latchkey_reference_fetches_queued", "References that wait to be read.", nil, nil)
	fetchedDesc  = prometheus.NewDesc("latchkey_reference_fetches_total", "References that were read, by how it ended.", []string{"status"}, nil)
	touchedDesc  = prometheus.NewDesc("latchkey_reference_restarts_total", "Apps restarted because the value of a reference changed.", nil, nil)
	withRefsDesc = prometheus.NewDesc("latchkey_reference_apps", "Apps with references; 0 on nodes that do not refresh them.", nil, nil)
)

// Describe implements prometheus.Collector.
func (references) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{fetchingDesc, queuedDesc, fetchedDesc, touchedDesc, withRefsDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (r references) Collect(ch chan<- prometheus.Metric) {
	f := r.read()
	ch <- prometheus.MustNewConstMetric(fetchingDesc, prometheus.GaugeValue, float64(f.InFlight))
	ch <- prometheus.MustNewConstMetric(queuedDesc, prometheus.GaugeValue, float64(f.Queued))
	ch <- prometheus.MustNewConstMetric(touchedDesc, prometheus.CounterValue, float64(f.Restarts))
	ch <- prometheus.MustNewConstMetric(withRefsDesc, prometheus.GaugeValue, float64(f.Apps))
	for status, n := range f.Fetches {
		ch <- prometheus.MustNewConstMetric(fetchedDesc, prometheus.CounterValue, float64(n), status)
	}
}
