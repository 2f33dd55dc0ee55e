package sites

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/applog"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/places"
	"github.com/latchkey/latchkey/internal/problem"
)

// Bounds of reading logs.
const (
	logsTail     = 100 // lines, if nobody says
	logsMost     = 500
	logsWait     = 25 * time.Second
	logsTogether = 200 * time.Millisecond // what comes within it is told at once
	logsWaiting  = 500                    // calls that wait for lines
	logsEach     = 20                     // of one caller
	logsNodes    = 32                     // in a cursor
	logsGoesOn   = 2 * time.Minute        // between calls of one who follows
	logsReaders  = 10_000                 // that are remembered
)

// Logs are those of apps on this node.
type Logs struct {
	Node string
	// Of gives the log of an app.
	Of func(a app.App) *applog.Log
	// Opened is told of calls that begin to read a log, and not of those that go on; nil
	// is told nothing. It must not wait.
	Opened func(c *arm.Call, a app.App)
}

// logsAction is what the platform asks for from those who read an app's log stream: it
// is served by the deployment endpoint there.
const logsAction = "sites/publish/Action"

func (api *API) logOperations() []arm.Operation {
	w := &logWaiters{places: places.Places{All: logsWaiting, Each: logsEach}, readers: map[[2]string]time.Time{}}
	return []arm.Operation{action(logsAction, api.at("GET", "/logstream", func(c *arm.Call, a app.App) (arm.Reply, error) { return api.readLog(c, a, w) }))}
}

// logLine is a line as clients see it.
type logLine struct {
	Time       time.Time `json:"time"`
	Level      string    `json:"level"`
	Source     string    `json:"source"`
	Function   string    `json:"function,omitempty"`
	Invocation string    `json:"invocationId,omitempty"`
	Message    string    `json:"message"`
}

// logPart is what there is of a log after a place in it.
type logPart struct {
	Value  []logLine `json:"value"`
	After  string    `json:"after"`  // to be given for what comes then
	Missed uint64    `json:"missed"` // lines that came faster than they were read, and are not kept
	Node   string    `json:"node"`   // whose lines these are
	Others []string  `json:"others"` // nodes that run the app too; their lines are there
}

// readLog gives the last lines of an app on this node, or those after a cursor, and
// waits for some if that is asked for.
func (api *API) readLog(c *arm.Call, a app.App, w *logWaiters) (arm.Reply, error) {
	q, err := readLogQuery(c.Query)
	if err != nil {
		return arm.Reply{}, err
	}
	part := logPart{Value: []logLine{}, Node: api.Logs.Node, Others: api.otherNodes(c.Context(), a)}
	if api.Logs.Of == nil {
		return arm.OK(part), nil
	}
	defer w.reads(c.Caller.ObjectID, a.UID) // again, as it can wait
	if on := w.reads(c.Caller.ObjectID, a.UID); (q.cursor == nil || !on) && api.Logs.Opened != nil {
		api.Logs.Opened(c, a)
	}
	lines, last, missed, err := api.linesOf(c, a, q, w)
	if err != nil {
		return arm.Reply{}, err
	}
	if over := len(lines) - q.tail; over > 0 {
		lines = lines[over:]
		if q.cursor != nil {
			missed += uint64(over)
		}
	}
	for _, l := range lines {
		part.Value = append(part.Value, logLine{l.Time.UTC(), applog.LevelName(l.Level), l.Source, l.Function, l.Invocation, l.Message})
	}
	part.After, part.Missed = q.cursor.with(part.Node, last), missed
	return arm.OK(part), nil
}

// linesOf reads lines, and waits where somebody follows.
func (api *API) linesOf(c *arm.Call, a app.App, q logQuery, w *logWaiters) (lines []applog.Line, last, missed uint64, err error) {
	log, known := api.Logs.Of(a), q.cursor != nil
	after := q.cursor[api.Logs.Node]
	if q.wait == 0 || !known {
		lines, last, missed = log.After(after)
		lines = slices.DeleteFunc(lines, func(l applog.Line) bool { return !q.filter.Wants(l) })
		if !known || after == 0 {
			missed = 0 // of what was there before somebody looked nothing is missed
		}
		return lines, last, missed, nil
	}
	leave, ok := w.places.Take(c.Caller.ObjectID)
	if !ok {
		return nil, 0, 0, problem.New(problem.Throttled, "too many calls wait for lines of logs").WithNext("follow fewer logs at a time")
	}
	defer leave()
	ctx, cancel := context.WithTimeout(c.Context(), q.wait)
	defer cancel()
	lines, last, missed, err = log.Next(ctx, after, q.filter, logsTogether)
	if after == 0 {
		missed = 0 // likewise: the caller was told lines of other nodes so far
	}
	if errors.Is(err, applog.ErrEnded) {
		err = missing(err, a.ID)
	}
	return lines, last, missed, err
}

// otherNodes are those besides this one that have a copy of the app.
func (api *API) otherNodes(ctx context.Context, a app.App) []string {
	names := []string{}
	for _, i := range api.instances(ctx, a) {
		if i.Node != api.Logs.Node {
			names = append(names, i.Node)
		}
	}
	return names
}

// logQuery is what a client wants.
type logQuery struct {
	cursor logCursor // nil: from the end
	tail   int
	wait   time.Duration
	filter applog.Filter
}

func readLogQuery(q url.Values) (l logQuery, err error) {
	l.tail = logsTail
	l.filter.Function, l.filter.Contains = q.Get("function"), q.Get("contains")
	if l.filter.Level, err = readLevel(q.Get("level")); err != nil {
		return l, err
	}
	if text := q.Get("tail"); text != "" {
		if l.tail, err = strconv.Atoi(text); err != nil || l.tail < 0 || l.tail > logsMost {
			return l, problem.New(problem.Invalid, fmt.Sprintf("parameter 'tail' must be a number of lines from 0 to %d", logsMost))
		}
	}
	if text := q.Get("wait"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return l, problem.New(problem.Invalid, "parameter 'wait' must be a number of seconds")
		}
		l.wait = min(time.Duration(n)*time.Second, logsWait)
	}
	if text := q.Get("after"); text != "" {
		if l.cursor, err = readCursor(text); err != nil {
			return l, err
		}
		if q.Get("tail") == "" {
			l.tail = logsMost
		}
	}
	return l, nil
}

// levels are those of lines by name, in lower case.
var levels = map[string]slog.Level{
	"": slog.LevelDebug, "debug": slog.LevelDebug, "trace": slog.LevelDebug, "information": slog.LevelInfo, "info": slog.LevelInfo,
	"warning": slog.LevelWarn, "warn": slog.LevelWarn, "error": slog.LevelError,
}

func readLevel(name string) (slog.Level, error) {
	l, known := levels[strings.ToLower(name)]
	if !known {
		return l, problem.New(problem.Invalid, "parameter 'level' must be Debug, Information, Warning or Error")
	}
	return l, nil
}

// logCursor is a place in the logs of nodes: a client's next call may come to another.
type logCursor map[string]uint64

func readCursor(text string) (logCursor, error) {
	wrong := problem.New(problem.Invalid, "parameter 'after' must be what an answer gave")
	parts := strings.Split(text, ",")
	if len(parts) > logsNodes {
		return nil, wrong
	}
	c := logCursor{}
	for _, part := range parts {
		name, number, _ := strings.Cut(part, ":")
		node, err := url.QueryUnescape(name)
		seq, wrongNumber := strconv.ParseUint(number, 10, 64)
		if err != nil || wrongNumber != nil {
			return nil, wrong
		}
		c[node] = seq
	}
	return c, nil
}

// with gives the text of the cursor with the place in the log of a node.
func (c logCursor) with(node string, seq uint64) string {
	text := []string{url.QueryEscape(node) + ":" + strconv.FormatUint(seq, 10)}
	for other, at := range c {
		if other != node && len(text) < logsNodes {
			text = append(text, url.QueryEscape(other)+":"+strconv.FormatUint(at, 10))
		}
	}
	slices.Sort(text[1:])
	return strings.Join(text, ",")
}

// logWaiters are the calls that wait for lines, and who has read which log lately.
type logWaiters struct {
	places  places.Places
	mu      sync.Mutex              // of readers
	readers map[[2]string]time.Time // by caller and app
}

// reads notes that somebody reads a log and reports whether that goes on with what they
// did lately: anybody can make a cursor, and what it says is no proof of that.
func (w *logWaiters) reads(caller, uid string) (on bool) {
	key, now := [2]string{caller, uid}, time.Now() // the machine's time, as it is calls that follow each other
	w.mu.Lock()
	defer w.mu.Unlock()
	last, known := w.readers[key]
	if !known && len(w.readers) >= logsReaders {
		maps.DeleteFunc(w.readers, func(_ [2]string, t time.Time) bool { return now.Sub(t) >= logsGoesOn })
		if len(w.readers) >= logsReaders {
			clear(w.readers) // their next calls are recorded once more
		}
	}
	w.readers[key] = now
	return known && now.Sub(last) < logsGoesOn
}
