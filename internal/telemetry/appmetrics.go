package telemetry

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/latchkey/latchkey/internal/traffic"
)

// KeyResult is how an access key decision ended.
type KeyResult uint8

const (
	KeyAccepted     KeyResult = iota // the key opens the function
	KeyNotNeeded                     // the function is anonymous
	KeyMissing                       // no key was presented
	KeyUnknown                       // no such key
	KeyInsufficient                  // a key, but not one that reaches this far
	KeyThrottled                     // not looked at: its source has presented too many wrong keys
	KeyStoreFailed                   // the keys could not be read
	keyResults                       // how many there are
)

var keyResultNames = [keyResults]string{
	"accepted", "not_needed", "missing", "unknown", "insufficient", "throttled", "store_failed",
}

// String gives the result as the metric's label shows it.
func (r KeyResult) String() string {
	if r < keyResults {
		return keyResultNames[r]
	}
	return "invalid"
}

// KeystoreState is the value of latchkey_keystore_state.
type KeystoreState uint8

const (
	KeystoreOK          KeystoreState = 0 // keys are read and written
	KeystoreDegraded    KeystoreState = 1 // the last good keys are in use
	KeystoreUnavailable KeystoreState = 2 // there are no keys to decide with
)

// AppMetrics counts what happens in one app. Safe for concurrent use.
type AppMetrics struct {
	inFlight  atomic.Int64
	traffic   traffic.Counter // keeps busy counters off the cache line of what is only read
	m         *Metrics
	name      string
	forgotten atomic.Bool
	decisions [keyResults]prometheus.Counter
	restarts  prometheus.Counter
	keystore  prometheus.Gauge

	mu        sync.Mutex
	functions map[string]*FunctionMetrics
}

func newAppMetrics(m *Metrics, app string) *AppMetrics {
	a := &AppMetrics{
		m: m, name: app,
		restarts:  m.restarts.WithLabelValues(app),
		keystore:  m.keystore.WithLabelValues(app),
		functions: map[string]*FunctionMetrics{},
	}
	for r := range keyResults {
		a.decisions[r] = m.decisions.WithLabelValues(app, r.String())
	}
	return a
}

// Function gives the metrics of a function of the app, see [Metrics.Function].
func (a *AppMetrics) Function(name string) *FunctionMetrics {
	name = label(name)
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.functions[name]
	if f == nil {
		f = &FunctionMetrics{
			app:      a,
			requests: a.m.requests.MustCurryWith(prometheus.Labels{"app": a.name, "function": name}),
			duration: a.m.durations.WithLabelValues(a.name, name),
		}
		a.functions[name] = f
	}
	return f
}

// Enter counts a request that is being served; Leave must follow.
func (a *AppMetrics) Enter() { a.inFlight.Add(1) }

// Leave takes back one Enter.
func (a *AppMetrics) Leave() { a.inFlight.Add(-1) }

// InFlight gives the number of requests being served.
func (a *AppMetrics) InFlight() int64 { return a.inFlight.Load() }

// KeyDecision counts a decision; a result that does not exist is ignored.
func (a *AppMetrics) KeyDecision(r KeyResult) {
	if r < keyResults {
		a.decisions[r].Inc()
	}
}

// WorkerRestarted counts a worker that was started again.
func (a *AppMetrics) WorkerRestarted() { a.restarts.Inc() }

// SetKeystore shows the state of the app's key store.
func (a *AppMetrics) SetKeystore(s KeystoreState) { a.keystore.Set(float64(s)) }

// FunctionMetrics counts the requests to one function. Safe for concurrent use.
type FunctionMetrics struct {
	app      *AppMetrics
	duration prometheus.Observer
	requests *prometheus.CounterVec // all labels but status set
	byStatus [statusLimit]atomic.Pointer[prometheus.Counter]
}

// statusLimit is one more than the highest status code counted by itself.
const statusLimit = 600

// Observe counts a request answered with status after d. It costs a few atomic
// additions; only the first use of a status allocates. A status that is none
// (below 100, above 599) is counted as 0.
func (f *FunctionMetrics) Observe(status int, d time.Duration) {
	if status < 100 || status >= statusLimit {
		status = 0
	}
	c := f.byStatus[status].Load()
	if c == nil {
		c = f.resolve(status)
	}
	(*c).Inc()
	f.duration.Observe(d.Seconds())
	f.app.traffic.Observe(status, d)
}

// resolve finds the counter of a status for the first time. Callers that race
// get the same counter from the vector, so it does not matter whose stays.
func (f *FunctionMetrics) resolve(status int) *prometheus.Counter {
	var c prometheus.Counter
	if f.app.forgotten.Load() { // a late request must not bring the app's series back
		c = prometheus.NewCounter(prometheus.CounterOpts{Name: "forgotten"})
	} else {
		c = f.requests.WithLabelValues(strconv.Itoa(status))
	}
	f.byStatus[status].Store(&c)
	return &c
}
