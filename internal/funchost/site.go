package funchost

import (
	"net/http"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/telemetry"
)

// site is a model prepared for serving: everything a request needs of it is
// looked up once, here.
type site struct {
	model     *instance.Model
	endpoints map[*funcapp.Function]*endpoint
	throttle  *throttle
	timeout   time.Duration
	onHead    func(http.Header) // nil when the app adds no headers
	hsts      *hsts
}

// endpoint is what a request needs of one function.
type endpoint struct {
	function *funcapp.Function
	level    keyring.Level
	scope    *keyring.Scope
	metrics  *telemetry.FunctionMetrics
}

func (f *Front) prepare(m *instance.Model) *site {
	s := &site{
		model:     m,
		endpoints: make(map[*funcapp.Function]*endpoint, len(m.Functions)),
		throttle:  newThrottle(m.App.Host.HTTP),
		timeout:   m.App.Host.FunctionTimeout,
		onHead:    customHeaders(m.App.Host.HTTP.CustomHeaders),
		hsts:      newHSTS(m.App.Host.HTTP.HSTS),
	}
	for i := range m.Functions {
		fn := &m.Functions[i]
		e := &endpoint{function: fn, scope: f.cfg.Gate.Keys.Function(fn.Name), metrics: f.cfg.Metrics.Function(fn.Name)}
		if h := fn.HTTP(); h != nil {
			e.level = requiredLevel(h.AuthLevel)
		}
		s.endpoints[fn] = e
	}
	return s
}

// requiredLevel gives the level that opens a function. No key has level user, so
// only what opens everything opens those functions.
func requiredLevel(l funcapp.AuthLevel) keyring.Level {
	switch l {
	case funcapp.LevelAnonymous:
		return keyring.Anonymous
	case funcapp.LevelFunction:
		return keyring.FunctionLevel
	case funcapp.LevelSystem:
		return keyring.SystemLevel
	default:
		return keyring.AdminLevel
	}
}

// customHeaders adds host.json's headers to answers that don't have them.
func customHeaders(headers map[string]string) func(http.Header) {
	if len(headers) == 0 {
		return nil
	}
	canonical := make(http.Header, len(headers))
	for name, value := range headers {
		canonical.Set(name, value)
	}
	return func(h http.Header) {
		for name, values := range canonical {
			if _, given := h[name]; !given {
				h[name] = values
			}
		}
	}
}

// hsts is the Strict-Transport-Security header, for https only.
type hsts struct {
	value    string
	excluded map[string]bool
}

func newHSTS(c *funcapp.HSTS) *hsts {
	if c == nil {
		return nil
	}
	h := &hsts{value: "max-age=" + strconv.FormatInt(int64(c.MaxAge/time.Second), 10), excluded: map[string]bool{}}
	if c.IncludeSubDomains {
		h.value += "; includeSubDomains"
	}
	if c.Preload {
		h.value += "; preload"
	}
	for _, host := range c.ExcludedHosts {
		h.excluded[hostOnly(host)] = true
	}
	return h
}
