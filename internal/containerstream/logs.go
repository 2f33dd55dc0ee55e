package containerstream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// wish is what a client wants of logs.
type wish struct {
	follow, json bool
	tail         int // -1: all there are
}

// readWish reads a query, with the names that clients use.
func readWish(q url.Values) (wish, error) {
	w := wish{tail: -1}
	var err error
	if text := q.Get("follow"); text != "" {
		if w.follow, err = strconv.ParseBool(text); err != nil {
			return w, problem.New(problem.Invalid, "parameter 'follow' must be true or false")
		}
	} else if q.Has("follow") {
		w.follow = true
	}
	if text := q.Get("tailLines"); text != "" {
		if w.tail, err = strconv.Atoi(text); err != nil || w.tail < 0 || w.tail > maxTail {
			return w, problem.New(problem.Invalid, fmt.Sprintf("parameter 'tailLines' must be a number from 0 to %d", maxTail))
		}
	}
	switch strings.ToLower(q.Get("output")) {
	case "json":
		w.json = true
	case "", "text", "none": // az says None when nobody asked
	default:
		return w, problem.New(problem.Invalid, "parameter 'output' must be json or text")
	}
	return w, nil
}

// logs writes the lines of one container.
func (h *Handler) logs(w http.ResponseWriter, r *http.Request, of engine.Target, open func() error) error {
	want, err := readWish(r.URL.Query())
	if err == nil {
		err = open()
	}
	if err != nil {
		return err
	}
	out := newLines(w, want.json, h.cfg.Clock)
	opts := engine.LogOptions{Follow: want.follow, Tail: max(want.tail, 0)}
	if want.tail == 0 {
		if !want.follow {
			return nil
		}
		opts.Tail = 1 // engines know no way to have none
	}
	err = h.cfg.Engine.Logs(r.Context(), of, opts, out)
	out.end()
	if err != nil && r.Context().Err() == nil {
		h.cfg.Log.Warn("the lines of a container could not be read to their end", "container", of.Container, "revision", of.Revision.String(), "reason", err)
		if !out.begun {
			return err
		}
	}
	return nil
}

// lines passes on what a container writes, line by line, as soon as it is there.
// A line that is longer than maxLine is cut in pieces.
type lines struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	json  bool
	clock clock.Clock
	begun bool
	rest  []byte
}

const maxLine = 64 << 10

func newLines(w http.ResponseWriter, json bool, c clock.Clock) *lines {
	l := &lines{w: w, rc: http.NewResponseController(w), json: json, clock: c}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return l
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	var out bytes.Buffer
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 && len(l.rest) < maxLine {
			break
		}
		line, used := l.rest, len(l.rest)
		if i >= 0 {
			line, used = l.rest[:i], i+1
		}
		l.add(&out, line)
		l.rest = l.rest[used:]
	}
	l.rest = bytes.Clone(l.rest)
	return len(p), l.send(out.Bytes())
}

// logLine is a line as the JSON form has it. The time is when it was passed on.
type logLine struct {
	Time string `json:"TimeStamp"`
	Log  string `json:"Log"`
}

func (l *lines) add(out *bytes.Buffer, line []byte) {
	text := strings.TrimSuffix(string(line), "\r")
	if l.json {
		writeJSONLine(out, logLine{l.clock.Now().UTC().Format(time.RFC3339Nano), text})
		return
	}
	out.WriteString(text + "\n")
}

func writeJSONLine(out *bytes.Buffer, v any) {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // texts and numbers can be encoded
}

// send writes text at once. A client that takes nothing for long is given up.
func (l *lines) send(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	l.begun = true
	_ = l.rc.SetWriteDeadline(time.Now().Add(writeWithin)) // where there are no deadlines the context ends it
	if _, err := l.w.Write(text); err != nil {
		return err
	}
	err := l.rc.Flush()
	_ = l.rc.SetWriteDeadline(time.Time{}) // the connection goes on, and one of HTTP/2 ends a stream that waits
	return err
}

// start sends the head, so that clients know that they are connected.
func (l *lines) start() error {
	l.begun = true
	return l.rc.Flush()
}

// end writes a last line that has no end.
func (l *lines) end() {
	if len(l.rest) > 0 {
		var out bytes.Buffer
		l.add(&out, l.rest)
		l.rest = nil
		_ = l.send(out.Bytes()) // it is the end either way
	}
}

// eventLine is an event as clients know them.
type eventLine struct {
	Time     string `json:"TimeStamp"`
	Type     string `json:"Type"` // Normal or Warning
	App      string `json:"ContainerAppName"`
	Revision string `json:"RevisionName"`
	Replica  string `json:"ReplicaName"`
	Msg      string `json:"Msg"`
	Reason   string `json:"Reason"`
	Source   string `json:"EventSource"`
	Count    int    `json:"Count"`
}

// eventPeriod is how often followers of events are told of new ones.
const eventPeriod = 500 * time.Millisecond

// events writes what happened to the revisions of an app.
func (h *Handler) events(w http.ResponseWriter, r *http.Request, a containerapp.App, open func() error) error {
	want, err := readWish(r.URL.Query())
	if err == nil {
		err = open()
	}
	if err != nil {
		return err
	}
	list, err := h.eventsOf(r.Context(), a)
	if err != nil {
		return err
	}
	out, seen := newLines(w, true, h.cfg.Clock), map[eventLine]bool{}
	skip := 0
	if want.tail >= 0 {
		skip = max(len(list)-want.tail, 0)
	}
	if err := out.start(); err != nil {
		return nil // nobody listens
	}
	for {
		if out.send(fresh(list, seen, skip)) != nil || !want.follow {
			return nil
		}
		skip = 0
		timer := h.cfg.Clock.NewTimer(eventPeriod)
		select {
		case <-r.Context().Done():
			timer.Stop()
			return nil
		case <-timer.C():
		}
		if list, err = h.eventsOf(r.Context(), a); err != nil {
			return nil // the app is gone, or the stream
		}
	}
}

// fresh writes the events that were not seen, without the first ones, and forgets
// those that are gone.
func fresh(list []eventLine, seen map[eventLine]bool, skip int) []byte {
	var out bytes.Buffer
	now := map[eventLine]bool{}
	for i, e := range list {
		if !seen[e] && !now[e] && i >= skip {
			writeJSONLine(&out, e)
		}
		now[e] = true
	}
	clear(seen)
	for e := range now {
		seen[e] = true
	}
	return out.Bytes()
}

// eventsOf gives what happened to an app, the oldest first.
func (h *Handler) eventsOf(ctx context.Context, a containerapp.App) ([]eventLine, error) {
	now, err := h.cfg.Apps.Get(ctx, a.ID)
	if err == nil && now.UID != a.UID {
		err = problem.New(problem.NotFound, "there is no such app any more")
	}
	if err != nil {
		return nil, err
	}
	revisions, err := h.cfg.Apps.Revisions(ctx, a.ID)
	if err != nil {
		return nil, err
	}
	type dated struct {
		at time.Time
		eventLine
	}
	var all []dated
	for _, r := range revisions {
		status, err := h.cfg.Engine.Observe(ctx, h.cfg.Ref(a, r.Name))
		if err != nil {
			continue // it is not placed, or its engine is away: nothing is known of it
		}
		for _, e := range status.Events {
			all = append(all, dated{e.At, eventLine{e.At.UTC().Format(time.RFC3339Nano), typeOf(e.Reason), a.Name, r.Name, e.Replica, e.Message, string(e.Reason), "ContainerAppController", 1}})
		}
	}
	slices.SortStableFunc(all, func(x, y dated) int { return x.at.Compare(y.at) })
	list := make([]eventLine, len(all))
	for i, e := range all {
		list[i] = e.eventLine
	}
	return list, nil
}

func typeOf(r engine.Reason) string {
	switch r {
	case engine.ReasonPulled, engine.ReasonStarted, engine.ReasonReady, engine.ReasonAdopted, engine.ReasonReplaced, engine.ReasonTerminated:
		return "Normal"
	}
	return "Warning"
}
