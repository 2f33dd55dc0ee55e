package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// triggerMetrics are the series of functions that no request asks for.
type triggerMetrics struct {
	runs      *prometheus.CounterVec
	durations *prometheus.HistogramVec
	running   *prometheus.GaugeVec
	backlog   *prometheus.GaugeVec
}

func newTriggerMetrics() triggerMetrics {
	ofFunction := []string{"app", "function"}
	return triggerMetrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_trigger_runs_total",
			Help: "Runs of functions that no request asked for, by outcome: succeeded, failed, or skipped when the function was not started.",
		}, []string{"app", "function", "outcome"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "latchkey_trigger_run_duration_seconds",
			Help:    "Time from the start of a run to its end, retries and the waits between them included.",
			Buckets: durationBuckets,
		}, ofFunction),
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "latchkey_trigger_runs_outstanding",
			Help: "Runs of functions that no request asked for in progress, those that wait for a retry included.",
		}, ofFunction),
		backlog: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "latchkey_trigger_backlog",
			Help: "What waits to be worked on by a function, for example the messages of its queue.",
		}, ofFunction),
	}
}

func (t *triggerMetrics) register(r *prometheus.Registry) {
	r.MustRegister(t.runs, t.durations, t.running, t.backlog)
}

func (t *triggerMetrics) forget(of prometheus.Labels) {
	t.runs.DeletePartialMatch(of)
	t.durations.DeletePartialMatch(of)
	t.running.DeletePartialMatch(of)
	t.backlog.DeletePartialMatch(of)
}

// Outcome is how a run of a function ended that no request asked for.
type Outcome string

const (
	RunSucceeded Outcome = "succeeded"
	RunFailed    Outcome = "failed"
	RunSkipped   Outcome = "skipped" // the function was not started
)

// TriggerMetrics counts the runs of one function that no request asked for. Safe
// for concurrent use.
type TriggerMetrics struct {
	app  *AppMetrics
	name string
}

// Trigger gives the metrics of a function's trigger.
func (a *AppMetrics) Trigger(function string) TriggerMetrics {
	return TriggerMetrics{app: a, name: label(function)}
}

// Begin counts a run that begins; End must follow.
func (t TriggerMetrics) Begin() {
	if !t.app.forgotten.Load() {
		t.app.m.triggers.running.WithLabelValues(t.app.name, t.name).Inc()
	}
}

// End counts a run that ended after d.
func (t TriggerMetrics) End(o Outcome, d time.Duration) {
	if t.app.forgotten.Load() {
		return
	}
	m := &t.app.m.triggers
	m.running.WithLabelValues(t.app.name, t.name).Dec()
	m.runs.WithLabelValues(t.app.name, t.name, string(o)).Inc()
	m.durations.WithLabelValues(t.app.name, t.name).Observe(d.Seconds())
}

// Backlog shows how much waits to be worked on; a negative number takes the
// figure away.
func (t TriggerMetrics) Backlog(n int64) {
	switch {
	case t.app.forgotten.Load():
	case n < 0:
		t.app.m.triggers.backlog.DeleteLabelValues(t.app.name, t.name)
	default:
		t.app.m.triggers.backlog.WithLabelValues(t.app.name, t.name).Set(float64(n))
	}
}
