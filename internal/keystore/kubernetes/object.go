package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	maxAttempts = 50          // changes tried while others keep winning
	maxPause    = time.Second // between two of them; the first are far shorter
	firstPause  = 10 * time.Millisecond
)

// object is the form of the store that is a Secret or ConfigMap.
type object struct {
	cfg    Config
	client *client
	where  string
	reads  *reads
	turn   chan struct{} // updates here wait for each other rather than collide
}

func newObject(cfg Config) (*object, error) {
	if err := cfg.Access.Check(); err != nil {
		return nil, err
	}
	ns := cfg.Access.Namespace
	if cfg.Access.NamespaceFile != "" {
		ns = "(the pod's namespace)"
	}
	return &object{
		cfg: cfg, client: &client{cfg: cfg, Client: kubeapi.New(cfg.Access, cfg.Transport)}, reads: newReads(), turn: make(chan struct{}, 1),
		where: fmt.Sprintf("kubernetes %s %s/%s/%s", cfg.Access.Server, ns, cfg.Kind, cfg.Name),
	}, nil
}

// state is the object at one time; version is "" if there is none.
type state struct {
	content
	version     string
	annotations map[string]string
	data        map[string]string
	immutable   bool
}

// get reads the object. An object that is not there has no keys.
func (o *object) get(ctx context.Context) (state, error) {
	got, _, err := o.try(ctx, request{method: http.MethodGet, named: true})
	var answer *kubeapi.Status
	if errors.As(err, &answer) && answer.Missing(o.cfg.Name) {
		return o.state(apiObject{}), nil
	}
	if err != nil {
		return state{}, o.fault(ctx, "get", err)
	}
	return o.state(got), nil
}

func (o *object) state(got apiObject) state {
	return state{
		content: read(o.cfg.Kind, got), version: got.Metadata.ResourceVersion,
		annotations: got.Metadata.Annotations, data: got.Data, immutable: got.Immutable,
	}
}

// Load implements [keystore.Store]. Only the API server's own word that the
// object is not there counts as ErrNotFound; a refused credential is
// problem.Denied. A host document may lack its master key.
func (o *object) Load(ctx context.Context, doc keystore.Doc) (keystore.Document, keystore.Revision, error) {
	if err := check(ctx, doc); err != nil {
		return keystore.Document{}, "", err
	}
	now, err := o.reads.get(ctx, o.get)
	if err != nil {
		return keystore.Document{}, "", err
	}
	l := o.loaded(now, doc)
	return l.Document, l.Revision, l.Err
}

func (o *object) loaded(now state, doc keystore.Doc) keystore.Loaded {
	d, exists, err := now.document(doc)
	if err == nil && !exists {
		err = keystore.Missing(doc, o.String())
	}
	if err != nil {
		return keystore.Loaded{Err: err}
	}
	return keystore.Loaded{Document: d, Revision: now.revision(doc)}
}

// LoadAll implements [keystore.AllLoader] with one read of the object.
func (o *object) LoadAll(ctx context.Context) (map[keystore.Doc]keystore.Loaded, error) {
	if err := keystore.Alive(ctx); err != nil {
		return nil, err
	}
	now, err := o.reads.get(ctx, o.get)
	if err == nil {
		err = now.notesFault
	}
	if err != nil {
		return nil, err
	}
	all := map[keystore.Doc]keystore.Loaded{}
	for _, doc := range now.docs() {
		all[doc] = o.loaded(now, doc)
	}
	return all, nil
}

// List implements [keystore.Store].
func (o *object) List(ctx context.Context) ([]keystore.Doc, error) {
	if err := keystore.Alive(ctx); err != nil {
		return nil, err
	}
	now, err := o.reads.get(ctx, o.get)
	if err == nil {
		err = now.notesFault
	}
	if err != nil {
		return nil, err
	}
	return now.docs(), nil
}

// Update implements [keystore.Store]. The change must not call the store. The
// first document makes the object if it is missing.
func (o *object) Update(ctx context.Context, doc keystore.Doc, change keystore.Change) (keystore.Document, keystore.Revision, error) {
	var made keystore.Document
	rev, err := o.replace(ctx, doc, func(now content) (content, error) {
		old, exists, err := now.document(doc)
		if err != nil {
			return now, err
		}
		d, err := change(old, exists)
		if err != nil {
			return now, keystore.Refused(doc, err)
		}
		next, err := now.with(doc, d)
		if err == nil {
			made, _, err = next.document(doc)
		}
		return next, err
	})
	if err != nil {
		return keystore.Document{}, "", err
	}
	return made, rev, nil
}

// Delete implements [keystore.Store]. The object stays, even if it has no key left.
func (o *object) Delete(ctx context.Context, doc keystore.Doc) error {
	return o.delete(ctx, doc, func(content) bool { return true })
}

// DeleteAt implements [keystore.ExactDeleter].
func (o *object) DeleteAt(ctx context.Context, doc keystore.Doc, rev keystore.Revision) error {
	return o.delete(ctx, doc, func(now content) bool { return now.revision(doc) == rev })
}

func (o *object) delete(ctx context.Context, doc keystore.Doc, wanted func(content) bool) error {
	_, err := o.replace(ctx, doc, func(now content) (content, error) {
		if now.notesFault != nil {
			return now, now.notesFault
		}
		if !now.has(doc) {
			return now, keystore.Missing(doc, o.String())
		}
		if !wanted(now) {
			return now, keystore.ChangedSince(doc, o.String())
		}
		return now.without(doc), nil
	})
	return err
}

// edit makes new content of the old.
type edit func(now content) (content, error)

// replace changes a document's part of the object, again if somebody else was
// faster, and gives the document's new revision.
func (o *object) replace(ctx context.Context, doc keystore.Doc, edit edit) (keystore.Revision, error) {
	release, err := o.begin(ctx, doc)
	if err != nil {
		return "", err
	}
	defer release()
	var sent *content // what may have been written without our hearing of it
	for try := range maxAttempts {
		now, err := o.get(ctx)
		if err != nil {
			return "", err
		}
		if sent != nil && now.notesFault == nil && now.revision(doc) == sent.revision(doc) {
			return sent.revision(doc), nil // the answer got lost, not the write
		}
		if now.immutable {
			return "", problem.New(keystore.ErrReadOnly, o.String()+" is immutable").
				WithNext("make a new object with the keys and name it in " + NameSetting)
		}
		next, err := edit(now.content)
		if err != nil {
			return "", err
		}
		unsure, err := o.put(ctx, now, next)
		if unsure {
			sent = &next
		}
		if !errors.Is(err, errRaced) {
			return next.revision(doc), err
		}
		if err := o.pause(ctx, try); err != nil {
			return "", err
		}
	}
	return "", problem.New(keystore.ErrConflict, fmt.Sprintf("%s kept changing while it was being updated", o))
}

// begin checks that a document may be written and waits for its turn.
func (o *object) begin(ctx context.Context, doc keystore.Doc) (release func(), err error) {
	if err := check(ctx, doc); err != nil {
		return nil, err
	}
	if o.cfg.ReadOnly {
		return nil, problem.New(keystore.ErrReadOnly, o.String()+" is read-only")
	}
	select {
	case o.turn <- struct{}{}:
		return func() { <-o.turn }, nil
	case <-ctx.Done():
		return nil, keystore.Alive(ctx)
	}
}

// pause waits longer and longer, and never as long as others who wait.
func (o *object) pause(ctx context.Context, try int) error {
	if clock.Sleep(ctx, o.cfg.Clock, rand.N(min(firstPause<<min(try, 10), maxPause))) != nil {
		return keystore.Alive(ctx)
	}
	return nil
}

// put writes the object unless it changed since it was read: errRaced.
func (o *object) put(ctx context.Context, now state, next content) (unsure bool, err error) {
	if err := keystore.Alive(ctx); err != nil {
		return false, err
	}
	annotation, err := writeNotes(next.notes)
	if err != nil {
		return false, problem.Wrap(keystore.ErrInvalid, "the metadata of the keys cannot be written", err)
	}
	if err := next.fits(annotation, now.annotations); err != nil {
		return false, err
	}
	r, verb := o.creation(next, annotation), "create"
	if now.version != "" {
		r, verb = o.change(now, next, annotation), "patch"
	}
	_, unsure, err = o.try(ctx, r)
	return unsure, o.fault(ctx, verb, err)
}

// creation is the call that makes the object.
func (o *object) creation(next content, annotation string) request {
	kind := "Secret"
	if o.cfg.Kind == ConfigMap {
		kind = "ConfigMap"
	}
	made := apiObject{Metadata: metadata{Name: o.cfg.Name}, Data: map[string]string{}}
	for name, value := range next.entries {
		made.Data[name] = write(o.cfg.Kind, value)
	}
	if annotation != "" {
		made.Metadata.Annotations = map[string]string{Annotation: annotation}
	}
	body, _ := encode(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		apiObject
	}{"v1", kind, made})
	return request{method: http.MethodPost, form: "application/json", body: body}
}

// change is the call that changes what differs and nothing else, on the condition
// that the object is still the one that was read. Entries to go are null.
func (o *object) change(now state, next content, annotation string) request {
	data := map[string]any{}
	for name := range now.data {
		if _, stays := next.entries[name]; !stays {
			data[name] = nil
		}
	}
	for name, value := range next.entries {
		if old, had := now.entries[name]; !had || old != value {
			data[name] = write(o.cfg.Kind, value)
		}
	}
	meta := map[string]any{"resourceVersion": now.version}
	switch old, had := now.annotations[Annotation]; {
	case annotation == "" && had:
		meta["annotations"] = map[string]any{Annotation: nil}
	case annotation != old:
		meta["annotations"] = map[string]any{Annotation: annotation}
	}
	body, _ := encode(map[string]any{"metadata": meta, "data": data})
	return request{method: http.MethodPatch, named: true, form: "application/merge-patch+json", body: body}
}

// Capabilities implements [keystore.Store].
func (o *object) Capabilities() keystore.Capabilities {
	return keystore.Capabilities{ReadOnly: o.cfg.ReadOnly, Metadata: true}
}

// String implements [keystore.Store].
func (o *object) String() string { return o.where }
