package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/problem"
)

// Watch implements [keystore.Watcher] with a watch of the object, taken up again
// where it was when the connection ends. An API server that does not answer for
// longer than requests are tried again ends it. Without the permission to watch,
// the object is read about every Config.Poll.
func (o *object) Watch(ctx context.Context, changed func(keystore.Doc)) (<-chan struct{}, error) {
	if err := keystore.Alive(ctx); err != nil {
		return nil, err
	}
	w := &watch{object: o, changed: changed}
	stream, err := w.connect(ctx)
	if errors.Is(err, problem.Denied) {
		o.cfg.Log.Warn("without the permission to watch, keys are read again from time to time",
			slog.String("store", o.String()), slog.String("error", err.Error()), slog.String("next", problem.NextOf(err)))
		err = w.resync(ctx)
	}
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if stream != nil {
			err = w.run(ctx, stream)
		} else {
			err = w.poll(ctx)
		}
		if err != nil && ctx.Err() == nil {
			o.cfg.Log.Warn("changes made by others are not being reported", slog.String("store", o.String()), slog.String("error", err.Error()))
		}
	}()
	return done, nil
}

// watch is one Watch call's state, used by its goroutine alone.
type watch struct {
	object  *object
	changed func(keystore.Doc)
	known   *content // nil before the first time
	version string   // where to take the watch up; "" is wherever it begins
}

// event is one line of a watch.
type event struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

// errExpired says that the server no longer knows where the watch was.
var errExpired = errors.New("the watch was too far behind")

// connect opens the stream of events. Where it has no version to begin with, it
// reads the object after that, so that nothing is missed between the two.
func (w *watch) connect(ctx context.Context) (io.ReadCloser, error) {
	query := url.Values{
		"watch": {"true"}, "allowWatchBookmarks": {"true"}, "fieldSelector": {"metadata.name=" + w.object.cfg.Name},
	}
	if w.version != "" {
		query.Set("resourceVersion", w.version)
	}
	resp, err := w.object.client.send(ctx, request{method: http.MethodGet, query: query})
	var answer *kubeapi.Status
	if errors.As(err, &answer) && answer.HTTP == http.StatusGone {
		return nil, errExpired
	}
	if err != nil {
		return nil, w.object.fault(ctx, "watch", err)
	}
	if w.version == "" {
		if err := w.resync(ctx); err != nil {
			_ = resp.Body.Close()
			return nil, err
		}
	}
	return resp.Body, nil
}

// run follows streams until the context ends or no further one can be had.
func (w *watch) run(ctx context.Context, stream io.ReadCloser) error {
	for ctx.Err() == nil {
		err := w.follow(ctx, stream) // ends with ctx, as the request does
		_ = stream.Close()
		if errors.Is(err, errExpired) {
			w.version = ""
		}
		if stream, err = w.again(ctx); err != nil {
			return err
		}
	}
	return nil
}

// again opens the next stream, waiting longer and longer.
func (w *watch) again(ctx context.Context) (stream io.ReadCloser, err error) {
	cfg := w.object.cfg
	for n := range maxTries + 1 {
		if clock.Sleep(ctx, cfg.Clock, cfg.Retry<<n/2+rand.N(cfg.Retry<<n)) != nil {
			return nil, keystore.Alive(ctx)
		}
		stream, err = w.connect(ctx)
		if err == nil || errors.Is(err, problem.Denied) {
			return stream, err
		}
		if errors.Is(err, errExpired) {
			w.version = ""
		}
	}
	return nil, err
}

// follow tells of what one stream reports, until it ends.
func (w *watch) follow(ctx context.Context, stream io.Reader) error {
	events := json.NewDecoder(stream)
	for {
		var e event
		if err := events.Decode(&e); err != nil {
			return err
		}
		if err := w.heard(ctx, e); err != nil {
			return err
		}
	}
}

func (w *watch) heard(ctx context.Context, e event) error {
	if e.Type == "ERROR" {
		return errExpired // whatever it is, beginning anew is right
	}
	var got apiObject
	if err := json.Unmarshal(e.Object, &got); err != nil || got.Metadata.ResourceVersion == "" {
		return errForeign
	}
	w.version = got.Metadata.ResourceVersion
	switch {
	case e.Type == "BOOKMARK" || got.Metadata.Name != w.object.cfg.Name:
		return nil
	case e.Type == "DELETED":
		got = apiObject{}
	}
	w.tell(ctx, read(w.object.cfg.Kind, got))
	return nil
}

// poll looks for changes where the object may not be watched.
func (w *watch) poll(ctx context.Context) error {
	cfg := w.object.cfg
	for clock.Sleep(ctx, cfg.Clock, around(cfg.Poll)) == nil {
		if err := w.resync(ctx); err != nil {
			return err
		}
	}
	return nil
}

// around gives d or up to a fifth less, so that many instances spread.
func around(d time.Duration) time.Duration { return d - rand.N(d/5+1) }

// resync reads the object and tells of what changed since it was last seen.
func (w *watch) resync(ctx context.Context) error {
	now, err := w.object.get(ctx)
	if err == nil {
		w.tell(ctx, now.content)
	}
	return err
}

// tell names the documents that came, went or changed.
func (w *watch) tell(ctx context.Context, now content) {
	was := w.known
	w.known = &now
	if was == nil {
		return
	}
	if (was.notesFault != nil) != (now.notesFault != nil) {
		w.changed("")
		return
	}
	docs := append(was.docs(), now.docs()...)
	slices.Sort(docs)
	for _, doc := range slices.Compact(docs) {
		if was.revision(doc) != now.revision(doc) && ctx.Err() == nil {
			w.changed(doc)
		}
	}
}
