package logs

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/portal/containers"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/problem"
)

// Bounds of streams of containers.
const (
	longest  = 8 << 10          // bytes of a line
	kept     = 2 * shown        // lines that wait for a browser
	snapshot = 10 * time.Second // for reading the last lines
)

// open reads a stream of a container app, with a token for it.
func (p *Pages) open(ctx context.Context, v *page.Visit, f containers.Frame, address string, follow bool) (io.ReadCloser, error) {
	var grant struct{ Properties struct{ Token string } }
	if err := v.API().Do(ctx, http.MethodPost, f.Path("getAuthtoken"), nil, &grant); err != nil {
		return nil, err
	}
	u, err := url.Parse(address)
	if err != nil || u.Path == "" {
		return nil, problem.New(problem.Unsupported, "this installation has no streams of container apps")
	}
	u.RawQuery = url.Values{"follow": {strconv.FormatBool(follow)}, "tailLines": {strconv.Itoa(shown)}}.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, problem.Wrap(problem.Internal, "the stream has no address", err)
	}
	r.Header.Set("Authorization", "Bearer "+grant.Properties.Token)
	r.RemoteAddr = v.R.RemoteAddr
	answer, err := p.streams.RoundTrip(r)
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, "the stream cannot be read", err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	_ = answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusNotFound:
		return nil, errGone
	case http.StatusForbidden, http.StatusUnauthorized:
		return nil, problem.New(problem.Denied, "the stream is not for you")
	}
	return nil, problem.New(problem.Unavailable, "the stream cannot be read: status "+strconv.Itoa(answer.StatusCode))
}

// lastLines reads what there is of a stream now.
func (p *Pages) lastLines(v *page.Visit, f containers.Frame, address string, w wish) ([]Line, error) {
	ctx, cancel := context.WithTimeout(v.Context(), snapshot)
	defer cancel()
	body, err := p.open(ctx, v, f, address, false)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	t := newTail(w, reader(v, w))
	t.read(body)
	return t.lines[max(len(t.lines)-shown, 0):], nil
}

// reader gives what makes a line of a line of the stream.
func reader(v *page.Visit, w wish) func(string) Line {
	if w.Place != system {
		return func(text string) Line { return Line{Text: plain(text)} }
	}
	return func(text string) Line {
		var e struct {
			Time     time.Time `json:"TimeStamp"`
			Type     string
			Revision string `json:"RevisionName"`
			Replica  string `json:"ReplicaName"`
			Msg      string
			Reason   string
		}
		if json.Unmarshal([]byte(text), &e) != nil {
			return Line{Text: plain(text)}
		}
		x := Line{At: e.Time.UTC().Format(time.RFC3339Nano), Clock: e.Time.UTC().Format("15:04:05.000"), Of: e.Replica, Text: plain(e.Reason + ": " + e.Msg)}
		if x.Of == "" {
			x.Of = e.Revision
		}
		if strings.EqualFold(e.Type, "Warning") {
			x.Level, x.Kind = level(v, "Warning")
		}
		return x
	}
}

// tail keeps the last lines of a stream until they are asked for.
type tail struct {
	wish wish
	make func(string) Line

	mu     sync.Mutex
	lines  []Line
	missed int
	begun  bool // something was given
	over   bool
	wake   chan struct{}
}

func newTail(w wish, f func(string) Line) *tail {
	return &tail{wish: w, make: f, wake: make(chan struct{}, 1)}
}

// read reads a stream to its end.
func (t *tail) read(from io.Reader) {
	lines := bufio.NewReaderSize(from, longest)
	for {
		text, more, err := lines.ReadLine()
		if err != nil {
			break
		}
		line := string(text)
		for more && err == nil { // what is too long is cut
			_, more, err = lines.ReadLine()
		}
		t.add(strings.TrimRight(line, "\r"))
	}
	t.mu.Lock()
	t.over = true
	t.mu.Unlock()
	t.rouse()
}

func (t *tail) add(text string) {
	x := t.make(text)
	if t.wish.Text != "" && !strings.Contains(strings.ToLower(x.Text), strings.ToLower(t.wish.Text)) || t.wish.Level != "" && t.wish.Place == system && x.Kind == "" {
		return
	}
	t.mu.Lock()
	t.lines = append(t.lines, x)
	if len(t.lines) > kept {
		t.lines[0] = Line{}
		t.lines = t.lines[1:]
		t.missed++
	}
	t.mu.Unlock()
	t.rouse()
}

func (t *tail) rouse() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// errOver says that the container writes no more.
var errOver = problem.New(problem.NotFound, "the container has ended")

// next is the source of a follower. What a stream gives first is in place of what the
// page shows: it begins with lines that the page has.
func (t *tail) next(ctx context.Context) (told, error) {
	for {
		t.mu.Lock()
		got := told{Lines: t.lines, Missed: t.missed, Reset: !t.begun}
		over := t.over
		if len(got.Lines) > 0 {
			t.lines, t.missed, t.begun = nil, 0, true
		}
		t.mu.Unlock()
		switch {
		case len(got.Lines) > 0:
			if got.Reset {
				got.Missed = 0
			}
			return got, nil
		case over:
			return told{}, errOver
		}
		select {
		case <-t.wake:
		case <-ctx.Done():
			return told{}, ctx.Err()
		}
	}
}
