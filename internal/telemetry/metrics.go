package telemetry

import (
	"net/http"
	"runtime"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/latchkey/latchkey/internal/traffic"
)

// durationBuckets, in seconds, reach from a bare hop to the platform's limit of
// 230 seconds for an HTTP answer.
var durationBuckets = []float64{
	0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 230,
}

// Metrics is one node's metrics, on a registry of its own. Label sets are
// constant. Callers resolve an [AppMetrics] or [FunctionMetrics] once and then
// count without looking anything up. Safe for concurrent use.
type Metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	decisions *prometheus.CounterVec
	restarts  *prometheus.CounterVec
	keystore  *prometheus.GaugeVec
	triggers  triggerMetrics

	mu    sync.Mutex
	apps  map[string]*AppMetrics
	drops []func() uint64
}

// NewMetrics gives metrics that say they are of the version.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_requests_total",
			Help: "Requests answered, by app, function (empty when no route matched) and status code.",
		}, []string{"app", "function", "status"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "latchkey_request_duration_seconds",
			Help:    "Time from a request's arrival to the end of its answer.",
			Buckets: durationBuckets,
		}, []string{"app", "function"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_key_decisions_total",
			Help: "Access key decisions, by app and result.",
		}, []string{"app", "result"}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_worker_restarts_total",
			Help: "Times a worker process was started again.",
		}, []string{"app"}),
		keystore: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "latchkey_keystore_state",
			Help: "State of an app's key store: 0 ok, 1 degraded, 2 unavailable.",
		}, []string{"app"}),
		triggers: newTriggerMetrics(),
		apps:     map[string]*AppMetrics{},
	}
	m.triggers.register(m.registry)
	m.registry.MustRegister(m.requests, m.durations, m.decisions, m.restarts, m.keystore,
		&live{m}, buildInfo(version),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// App gives the metrics of an app; the same for the same name.
func (m *Metrics) App(app string) *AppMetrics {
	app = label(app)
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.apps[app]
	if a == nil {
		a = newAppMetrics(m, app)
		m.apps[app] = a
	}
	return a
}

// Function gives the metrics of an app's function; the same for the same names.
// The empty name stands for requests that no route matched.
func (m *Metrics) Function(app, function string) *FunctionMetrics {
	return m.App(app).Function(function)
}

// Forget removes an app's series, for an app that is gone. Handles taken before
// may still be used; they count for nothing that is shown.
func (m *Metrics) Forget(app string) {
	app = label(app)
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.apps[app]; a != nil {
		a.forgotten.Store(true)
	}
	delete(m.apps, app)
	of := prometheus.Labels{"app": app}
	m.requests.DeletePartialMatch(of)
	m.durations.DeletePartialMatch(of)
	m.decisions.DeletePartialMatch(of)
	m.restarts.DeletePartialMatch(of)
	m.keystore.DeletePartialMatch(of)
	m.triggers.forget(of)
}

// EachTraffic implements [traffic.Counters].
func (m *Metrics) EachTraffic(yield func(app string, total traffic.Sum)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, a := range m.apps {
		yield(name, a.traffic.Total())
	}
}

// Traffic implements [traffic.Counters].
func (m *Metrics) Traffic(app string) traffic.Sum {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.apps[label(app)]; a != nil {
		return a.traffic.Total()
	}
	return traffic.Sum{}
}

// CountDrops makes latchkey_log_dropped_total include what dropped returns, for
// example [RequestLog.Dropped]. It is asked at each scrape and must not block.
func (m *Metrics) CountDrops(dropped func() uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drops = append(m.drops, dropped)
}

// Handler serves the metrics in Prometheus' formats.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// live collects the values that are kept as plain atomics.
type live struct{ m *Metrics }

var (
	inFlightDesc = prometheus.NewDesc("latchkey_requests_in_flight",
		"Requests being served.", []string{"app"}, nil)
	droppedDesc = prometheus.NewDesc("latchkey_log_dropped_total",
		"Log lines lost because their sink failed or did not keep up.", nil, nil)
)

// Describe implements prometheus.Collector.
func (l *live) Describe(to chan<- *prometheus.Desc) {
	to <- inFlightDesc
	to <- droppedDesc
}

// Collect implements prometheus.Collector.
func (l *live) Collect(to chan<- prometheus.Metric) {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	for name, a := range l.m.apps {
		to <- prometheus.MustNewConstMetric(inFlightDesc, prometheus.GaugeValue,
			float64(a.inFlight.Load()), name)
	}
	var dropped uint64
	for _, count := range l.m.drops {
		dropped += count()
	}
	to <- prometheus.MustNewConstMetric(droppedDesc, prometheus.CounterValue, float64(dropped))
}

func buildInfo(version string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "latchkey_build_info",
		Help:        "Always 1; the labels say what is running.",
		ConstLabels: prometheus.Labels{"version": label(version), "goversion": runtime.Version()},
	})
	g.Set(1)
	return g
}

// label makes a label value of a name from outside; the registry panics on
// values that are not UTF-8.
func label(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }
