package scmapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/applog"
	"github.com/latchkey/latchkey/internal/problem"
)

// Bounds of log streams.
const (
	maxStreams    = 200
	maxEach       = 10                     // of one caller
	streamPause   = 250 * time.Millisecond // between writes
	streamBeat    = time.Minute            // between signs of life; with these it is seen whether the caller may still
	streamFirst   = 100                    // lines from before the stream
	writeWithin   = 15 * time.Second
	idleDefault   = 2 * time.Hour
	idleMost      = 24 * time.Hour
	timeoutOption = "SCM_LOGSTREAM_TIMEOUT"
)

// logstream is the first segment of the streams' paths.
const logstream = "logstream"

// streamFilter reads the path of a stream below "logstream": of the app, of one of its
// functions or of its host.
func streamFilter(segs []string) (f applog.Filter, ok bool) {
	if len(segs) == 0 {
		return f, true
	}
	if !strings.EqualFold(segs[0], "application") {
		return f, false // logs of servers and deployments, which there are not
	}
	segs = segs[1:]
	if len(segs) > 0 && strings.EqualFold(segs[0], "functions") {
		segs = segs[1:]
	}
	switch {
	case len(segs) == 0:
		return f, true
	case len(segs) == 2 && strings.EqualFold(segs[0], "function"):
		f.Function = segs[1]
		return f, true
	case len(segs) == 1 && strings.EqualFold(segs[0], "host"):
		f.Host = true
		return f, true
	}
	return f, false
}

// serveStream answers with the app's log as it is written, until the caller goes, may
// read no more, or nothing came for long.
func (x *exchange) serveStream(segs []string) error {
	f, ok := streamFilter(segs)
	if !ok || x.api.cfg.Logs == nil {
		return problem.New(problem.NotFound, "there is no such log; that of the app is at /api/logstream/application")
	}
	if x.r.Method != http.MethodGet {
		x.w.Header().Set("Allow", http.MethodGet)
		x.w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	}
	leave, ok := x.api.streams.Take(x.caller)
	if !ok {
		x.w.Header().Set("Retry-After", "10")
		return problem.New(problem.Throttled, "too many log streams are open").WithNext("close some")
	}
	defer leave()
	x.record(http.StatusOK, true) // now: the stream can last for hours
	s := &stream{exchange: x, filter: f, rc: http.NewResponseController(x.w), idle: idleOf(x.site.Settings), log: x.api.cfg.Logs(x.site)}
	h := x.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	s.run(x.r.Context())
	return nil
}

// idleOf gives how long a stream goes on without a line.
func idleOf(settings map[string]string) time.Duration {
	for name, value := range settings {
		if !strings.EqualFold(name, timeoutOption) {
			continue
		}
		if n, err := strconv.Atoi(value); err == nil && n > 0 {
			return min(time.Duration(n)*time.Second, idleMost)
		}
	}
	return idleDefault
}

// stream is one answer that lasts.
type stream struct {
	*exchange
	filter applog.Filter
	log    *applog.Log
	rc     *http.ResponseController
	idle   time.Duration

	seen  uint64    // number of the last line that was looked at
	quiet time.Time // since when there was nothing to say
	beat  time.Time // of the next sign of life
}

func (s *stream) run(ctx context.Context) {
	now := s.api.cfg.Clock.Now()
	s.quiet, s.beat = now, now.Add(streamBeat)
	lines, last, _ := s.log.After(0)
	s.seen = last
	lines = slices.DeleteFunc(lines, func(l applog.Line) bool { return !s.filter.Wants(l) })
	text := stamped(now, "Welcome, you are now connected to log-streaming service."+s.where())
	for on := s.send(text + format(lines[max(len(lines)-streamFirst, 0):])); on; {
		on = s.turn(ctx)
	}
}

// where says whose lines these are, where there are several nodes.
func (s *stream) where() string {
	if s.api.cfg.Where == nil {
		return ""
	}
	if text := s.api.cfg.Where(s.r.Context(), s.site); text != "" {
		return " " + text
	}
	return ""
}

// turn waits for what there is to say and says it; false ends the stream.
func (s *stream) turn(ctx context.Context) bool {
	lines, missed, err := s.next(ctx)
	now := s.api.cfg.Clock.Now()
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		s.send(stamped(now, "Stream terminated: "+text(err)+"."))
		return false
	case len(lines) > 0 || missed > 0:
		s.quiet = now
		told := ""
		if missed > 0 {
			told = stamped(now, fmt.Sprintf("%d line(s) were left out: they came faster than they can be kept.", missed))
		}
		if !s.send(told + format(lines)) {
			return false
		}
		pause(ctx)
	}
	return now.Before(s.beat) || s.alive(now)
}

// next waits for lines, at most until the next sign of life.
func (s *stream) next(ctx context.Context) (lines []applog.Line, missed uint64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := s.api.cfg.Clock.NewTimer(s.beat.Sub(s.api.cfg.Clock.Now()))
	defer timer.Stop()
	go func() {
		select {
		case <-timer.C():
			cancel()
		case <-ctx.Done():
		}
	}()
	lines, s.seen, missed, err = s.log.Next(ctx, s.seen, s.filter, streamPause)
	return lines, missed, err
}

// alive gives a sign of life, if the caller may still read.
func (s *stream) alive(now time.Time) bool {
	s.beat = now.Add(streamBeat)
	site, err := s.api.cfg.Sites.Site(s.r.Context(), s.site.Name)
	if err == nil {
		s.site = site
		err = s.admit()
	}
	if err != nil {
		s.denied = "" // nothing was refused that was asked for
		s.send(stamped(now, "Stream terminated: the credential is not good for it any more."))
		return false
	}
	since := int(now.Sub(s.quiet).Minutes())
	switch {
	case now.Sub(s.quiet) >= s.idle:
		s.send(stamped(now, fmt.Sprintf("Stream terminated due to no new trace in the past %d min(s).", since)))
		return false
	case since > 0:
		return s.send(stamped(now, fmt.Sprintf("No new trace in the past %d min(s).", since)))
	}
	return true
}

// send writes text at once. A client that takes nothing for long is given up.
func (s *stream) send(text string) bool {
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeWithin)) // where there are no deadlines the context ends it
	if _, err := s.w.Write([]byte(text)); err != nil || s.rc.Flush() != nil {
		return false
	}
	_ = s.rc.SetWriteDeadline(time.Time{}) // the connection goes on, and one of HTTP/2 ends a stream that waits
	return true
}

func pause(ctx context.Context) {
	timer := time.NewTimer(streamPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// stamped gives a line of the stream itself.
func stamped(at time.Time, text string) string {
	return at.UTC().Format("2006-01-02T15:04:05") + "  " + text + "\r\n"
}

// format gives lines as the host's log files have them.
func format(lines []applog.Line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.Time.UTC().Format("2006-01-02T15:04:05.000") + " [" + applog.LevelName(l.Level) + "] ")
		b.WriteString(strings.ReplaceAll(l.Message, "\n", "\r\n") + "\r\n")
	}
	return b.String()
}
