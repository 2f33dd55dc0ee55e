package eventgrid

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
)

// Bounds of the work in progress of one app.
const (
	maxInvocations = 128
	maxDeliveries  = 256
)

// patience is how long a delivery waits for its function to listen while the app
// restarts.
const patience = 10 * time.Second

// ServeHTTP answers Event Grid. Whoever calls has been let in already.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case e.deliveries <- struct{}{}:
		defer func() { <-e.deliveries }()
	default:
		later(w, "too many deliveries at a time")
		return
	}
	function := r.URL.Query().Get("functionName")
	l := e.await(r, function)
	if l == nil {
		if e.cfg.Expected != nil && e.cfg.Expected(function) {
			later(w, "the function does not listen right now")
			return
		}
		e.cfg.Log.Info("an event came for a function that takes none", "function", shown(function))
		text(w, http.StatusNotFound, "cannot find function: '"+shown(function)+"'")
		return
	}
	defer l.work.Done()
	e.serve(w, r, l)
}

// await gives the listener of a function, counted in, once there is one; nil when
// none is expected, or none came in time.
func (e *Endpoint) await(r *http.Request, function string) *listener {
	if function == "" {
		return nil
	}
	timer := e.cfg.Clock.NewTimer(patience)
	defer timer.Stop()
	for {
		l, changed := e.find(function)
		if l != nil && l.enter() {
			return l
		}
		if e.cfg.Expected == nil || !e.cfg.Expected(function) {
			return nil
		}
		select {
		case <-changed:
		case <-timer.C():
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
}

func (e *Endpoint) serve(w http.ResponseWriter, r *http.Request, l *listener) {
	if r.Method == http.MethodOptions {
		handshake(w, r)
		return
	}
	if r.Method != http.MethodPost {
		text(w, http.StatusBadRequest, "events are delivered with POST")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			text(w, http.StatusRequestEntityTooLarge, "a delivery may have "+strconv.Itoa(maxBody)+" bytes")
			return
		}
		text(w, http.StatusBadRequest, "the body could not be read")
		return
	}
	switch kind := r.Header.Get("aeg-event-type"); {
	case strings.EqualFold(kind, "Notification"):
		notify(w, l, body)
	case strings.EqualFold(kind, "SubscriptionValidation"):
		validate(w, l, body)
	case strings.EqualFold(kind, "Unsubscribe"):
		l.log.Info("a subscription was deleted", "subscription", shown(r.Header.Get("aeg-subscription-name")))
		w.WriteHeader(http.StatusAccepted)
	default:
		text(w, http.StatusBadRequest, "the header aeg-event-type is missing or unknown")
	}
}

// handshake answers the question whether a sender of CloudEvents may send.
func handshake(w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("WebHook-Request-Origin")
	if origin == "" {
		text(w, http.StatusBadRequest, "the header WebHook-Request-Origin is missing")
		return
	}
	rate := r.Header.Get("WebHook-Request-Rate")
	if n, err := strconv.Atoi(rate); err != nil || n <= 0 {
		rate = "*"
	}
	h := w.Header()
	h.Set("WebHook-Allowed-Origin", origin)
	h.Set("WebHook-Allowed-Rate", rate)
	h.Set("Allow", "POST")
	w.WriteHeader(http.StatusOK)
}

func validate(w http.ResponseWriter, l *listener, body []byte) {
	code, err := validationCode(body)
	if err != nil {
		refuse(w, err)
		return
	}
	l.log.Info("a subscription of Event Grid was confirmed")
	answer(w, map[string]string{"validationResponse": code})
}

// notify runs the function; whatever fails makes Event Grid send all events again.
func notify(w http.ResponseWriter, l *listener, body []byte) {
	events, whole, err := parseEvents(body)
	if err != nil {
		refuse(w, err)
		return
	}
	switch err := l.deliver(events, whole); {
	case err == nil:
		w.WriteHeader(http.StatusAccepted)
	case errors.Is(err, trigger.ErrNotRun):
		later(w, "the function was not started")
	default: // its text is for the app's log
		text(w, http.StatusInternalServerError, "Exception while executing function: "+l.name)
	}
}

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	if errors.Is(err, problem.TooLarge) {
		status = http.StatusRequestEntityTooLarge
	}
	text(w, status, err.Error())
}
