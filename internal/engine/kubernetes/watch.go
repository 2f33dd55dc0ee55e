package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/kubeapi"
)

// header is the metadata of an object.
type header struct {
	Name            string            `json:"name"`
	UID             string            `json:"uid"`
	ResourceVersion string            `json:"resourceVersion"`
	Generation      int64             `json:"generation"`
	Created         time.Time         `json:"creationTimestamp"`
	Deleted         *time.Time        `json:"deletionTimestamp"`
	Labels          map[string]string `json:"labels"`
	Annotations     map[string]string `json:"annotations"`
	Owners          []struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"ownerReferences"`
}

// ours reports whether an object is one that was made here: others make some with the
// same labels, as KEDA does.
func (h header) ours(k kind) bool {
	base := h.Labels[labelRevision]
	if base == "" {
		return false
	}
	if k == configMap && h.Name == base {
		return true
	}
	for _, o := range h.Owners {
		if o.Kind == configMap.name && o.Name == base {
			return true
		}
	}
	return false
}

// watch follows the objects of a kind that the installation has.
type watch struct {
	e       *Engine
	kind    kind
	version string // where to take it up
}

const (
	pageSize   = 500
	watchTime  = 5 * time.Minute // after which the server ends a watch
	firstPause = 250 * time.Millisecond
	longPause  = 30 * time.Second
)

var errExpired = errors.New("the watch was too far behind")

func (w *watch) accept(form string) string {
	if w.kind.full {
		return ""
	}
	return "application/json;as=" + form + ";g=meta.k8s.io;v=v1"
}

// list reads all objects, and makes what is known of them that.
func (w *watch) list(ctx context.Context) error {
	all, version, err := w.read(ctx)
	if err != nil {
		return err
	}
	w.version = version
	w.e.replaceAll(w.kind, all)
	return nil
}

// read reads all objects there are, by name.
func (w *watch) read(ctx context.Context) (all map[string]json.RawMessage, version string, err error) {
	query := url.Values{"labelSelector": {w.e.selector()}, "limit": {strconv.Itoa(pageSize)}}
	all = map[string]json.RawMessage{}
	for {
		var page struct {
			Metadata struct {
				ResourceVersion string `json:"resourceVersion"`
				Continue        string `json:"continue"`
			} `json:"metadata"`
			Items []json.RawMessage `json:"items"`
		}
		err := w.e.ask(ctx, kubeapi.Request{Method: http.MethodGet, Path: w.kind.path(w.e.ns, ""), Query: query, Accept: w.accept("PartialObjectMetadataList")}, &page)
		if err != nil {
			return nil, "", err
		}
		for _, item := range page.Items {
			h, err := headerOf(item)
			if err != nil {
				return nil, "", err
			}
			all[h.Name] = item
		}
		if page.Metadata.Continue == "" {
			return all, page.Metadata.ResourceVersion, nil
		}
		query.Set("continue", page.Metadata.Continue)
	}
}

func headerOf(object json.RawMessage) (header, error) {
	var o struct {
		Metadata header `json:"metadata"`
	}
	err := json.Unmarshal(object, &o)
	return o.Metadata, err
}

// run follows the objects until ctx ends.
func (w *watch) run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		heard, err := w.follow(ctx)
		if errors.Is(err, errExpired) || isStatus(err, http.StatusGone) {
			w.version = ""
		}
		wait := pause
		pause = min(pause*2, longPause)
		switch {
		case heard:
			wait, pause = firstPause, firstPause
		case w.kind.optional && isStatus(err, http.StatusNotFound):
			wait = w.e.cfg.Resync
		case err != nil && ctx.Err() == nil:
			w.e.cfg.Log.Warn("the cluster cannot be watched", "kind", w.kind.plural, "error", w.e.fault(err, "watch "+w.kind.plural).Error())
		}
		if clock.Sleep(ctx, w.e.cfg.Clock, wait) != nil {
			return
		}
	}
}

// follow lists if need be, and handles one watch's events until it ends.
func (w *watch) follow(ctx context.Context) (heard bool, err error) {
	if w.version == "" {
		if err := w.list(ctx); err != nil {
			return false, err
		}
	}
	resp, err := w.e.api.Send(ctx, kubeapi.Request{Method: http.MethodGet, Path: w.kind.path(w.e.ns, ""), Accept: w.accept("PartialObjectMetadata"),
		Query: url.Values{"watch": {"true"}, "allowWatchBookmarks": {"true"}, "labelSelector": {w.e.selector()},
			"resourceVersion": {w.version}, "timeoutSeconds": {strconv.Itoa(int(watchTime / time.Second))}}})
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	events := json.NewDecoder(resp.Body)
	for {
		var event struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := events.Decode(&event); err != nil {
			if errors.Is(err, io.EOF) {
				return true, nil
			}
			return heard, err
		}
		if event.Type == "ERROR" {
			return heard, errExpired // whatever it is, beginning anew is right
		}
		h, err := headerOf(event.Object)
		if err != nil {
			return heard, err
		}
		w.version, heard = h.ResourceVersion, true
		if event.Type != "BOOKMARK" {
			w.e.heard(w.kind, event.Object, event.Type == "DELETED")
		}
	}
}
