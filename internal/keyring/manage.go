package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// errKeep ends an update that finds nothing to change.
var errKeep = errors.New("nothing to change")

// List gives the keys of a section in stored order; the master key is in its
// own section only, followed by its former values. They are those in the store, or the last good ones while it
// cannot be read; without those it is the store's error. Former values that are
// keys of their own are among them; keys of which only a verifier is kept have a
// masked value and are marked HashOnly. A document that does
// not exist is created as by Ensure. The caller makes sure that a function
// exists.
func (r *Ring) List(ctx context.Context, sec Section) ([]accesskey.Key, error) {
	s, err := r.scopeOf(sec)
	if err != nil {
		return nil, err
	}
	set, err := r.current(ctx, s)
	if err != nil {
		return nil, err
	}
	keys := sec.list(set)
	for i := range keys {
		keys[i] = sec.shown(keys[i])
	}
	return keys, nil
}

// Get gives one key by name, ignoring case; problem.NotFound if there is none.
// The master key is also found among the system keys, as [accesskey.MasterName].
func (r *Ring) Get(ctx context.Context, sec Section, name string) (accesskey.Key, error) {
	if accesskey.IsMasterName(name) && sec.Kind == accesskey.System {
		sec = MasterKey()
	}
	if sec.Kind == accesskey.Master && !isFormerMaster(name) {
		if err := checkMasterName(name); err != nil {
			return accesskey.Key{}, err
		}
		name = accesskey.MasterName
	}
	keys, err := r.List(ctx, sec)
	if err != nil {
		return accesskey.Key{}, err
	}
	at := indexOf(keys, name)
	if at < 0 {
		return accesskey.Key{}, errNoKey()
	}
	return keys[at], nil
}

// Merged gives the keys that open a function: its own, and the host function
// keys that don't share a name with one of them. Those that do open it too.
func (r *Ring) Merged(ctx context.Context, function string) ([]accesskey.Key, error) {
	own, err := r.List(ctx, FunctionKeys(function))
	if err != nil {
		return nil, err
	}
	hosts, err := r.List(ctx, HostKeys())
	if err != nil {
		return nil, err
	}
	return merge(own, hosts), nil
}

// Set gives a key a value, creating the key if there is none of that name,
// ignoring case. At the host the name [accesskey.MasterName] means the master
// key, which is never reported as created. A document that does not exist is
// created with its generated keys besides this one. The new key is in force
// when Set returns. Restrictions of the key stay; former values of it end unless
// the value is the one it has. Errors: problem.Invalid for a bad name, for an
// empty or overlong value, for that of a former or restricted key, and, in mode
// Enabled, for one that is not identifiable; otherwise the store's; then nothing
// is changed.
func (r *Ring) Set(ctx context.Context, sec Section, name, value string) (key accesskey.Key, created bool, err error) {
	sec, s, err := r.aim(sec, name)
	if err == nil {
		err = r.checkValue(sec.Kind, value)
	}
	if err != nil {
		return accesskey.Key{}, false, err
	}
	return r.assign(ctx, sec, s, name, value)
}

// Renew is Set with a generated value; for the master key it reports created.
func (r *Ring) Renew(ctx context.Context, sec Section, name string) (key accesskey.Key, created bool, err error) {
	sec, s, err := r.aim(sec, name)
	if err != nil {
		return accesskey.Key{}, false, err
	}
	value, err := r.generate(sec.Kind)
	if err != nil {
		return accesskey.Key{}, false, err
	}
	key, created, err = r.assign(ctx, sec, s, name, value)
	return key, created || err == nil && sec.Kind == accesskey.Master, err
}

func (r *Ring) assign(ctx context.Context, sec Section, s *Scope, name, value string) (key accesskey.Key, created bool, err error) {
	a := assignment{ring: r, sec: sec, name: name, value: value}
	err = r.write(ctx, s, a.edit, func() Event {
		what, t := "Updated", KeyUpdated
		if a.created {
			what, t = "Created", KeyCreated
		}
		return keyEvent(t, sec, s, a.key.Name, what)
	})
	if err != nil {
		return accesskey.Key{}, false, err
	}
	key = sec.shown(a.key)
	key.Value = value
	return key, a.created, nil
}

// Delete removes a key and its former values, none of which works any more when
// Delete returns.
// problem.NotFound if there is none of that name, ignoring case; problem.Invalid
// for the master key, which can only be replaced. A former master key is deleted
// by the name that List gives it.
func (r *Ring) Delete(ctx context.Context, sec Section, name string) error {
	if sec.Kind != accesskey.Function && isFormerMaster(name) {
		return r.deleteFormerMaster(ctx, name)
	}
	if sec.Kind == accesskey.Master || accesskey.IsMasterName(name) {
		return problem.New(problem.Invalid, "Cannot delete System Key.") // the stock host's words
	}
	s, err := r.scopeOf(sec)
	if err != nil {
		return err
	}
	edit := func(set *accesskey.Set, existed bool) error {
		removed := false
		if existed {
			*set, removed = set.Remove(sec.Kind, name)
			removed = endFormer(set, sec.Kind, name) || removed
		}
		if !removed {
			return errNoKey()
		}
		return nil
	}
	return r.write(ctx, s, edit, func() Event { return keyEvent(KeyDeleted, sec, s, name, "Deleted") })
}

// EnsureSystemKey gives the system key of an extension's webhook,
// "{extension}_extension" in lower case, generating it if there is none.
func (r *Ring) EnsureSystemKey(ctx context.Context, extension string) (key accesskey.Key, created bool, err error) {
	if extension == "" {
		return accesskey.Key{}, false, problem.New(problem.Invalid, "an extension needs a name")
	}
	sec, name := SystemKeys(), strings.ToLower(extension)+"_extension"
	if err := accesskey.ValidateName(name); err != nil {
		return accesskey.Key{}, false, err
	}
	if key, err = r.Get(ctx, sec, name); err == nil || problem.KindOf(err) != problem.NotFound {
		return key, false, err
	}
	value, err := r.generate(sec.Kind)
	if err != nil {
		return accesskey.Key{}, false, err
	}
	return r.addIfAbsent(ctx, sec, name, value)
}

func (r *Ring) addIfAbsent(ctx context.Context, sec Section, name, value string) (key accesskey.Key, created bool, err error) {
	edit := func(set *accesskey.Set, _ bool) error {
		if at := indexOf(set.System, name); at >= 0 {
			return errKeep
		}
		key, _ = sec.set(set, name, value)
		return nil
	}
	err = r.write(ctx, r.home, edit, func() Event { return keyEvent(KeyCreated, sec, r.home, name, "Created") })
	switch {
	case errors.Is(err, errKeep): // somebody else was first
		key, err = r.Get(ctx, sec, name)
		return key, false, err
	case err != nil:
		return accesskey.Key{}, false, err
	}
	return key, true, nil
}

// current gives a document's keys as they are in the store now, as far as that
// can be had.
func (r *Ring) current(ctx context.Context, s *Scope) (accesskey.Set, error) {
	r.mu.Lock()
	cause, fresh := Asked, s.known && s.fault == nil && r.watching
	if !s.known {
		cause = FirstNeed
	}
	r.mu.Unlock()
	var err error
	if !fresh {
		err = r.await(ctx, r.begin(s, cause))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !s.known {
		return accesskey.Set{}, err
	}
	return s.document.Clone().Keys, nil
}

// write changes a document in its turn and puts the result in force before it
// returns. edit may run more than once; existed says whether there was a
// document that the ring or the store knew of.
func (r *Ring) write(ctx context.Context, s *Scope, edit func(set *accesskey.Set, existed bool) error, done func() Event) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	events, err := r.writeInTurn(ctx, s, edit)
	s.give()
	if err == nil {
		events = append(events, done())
	}
	r.emit(events)
	return err
}

func (r *Ring) writeInTurn(ctx context.Context, s *Scope, edit func(*accesskey.Set, bool) error) ([]Event, error) {
	inner, stop := r.bounded(ctx)
	defer stop()
	if err := r.settle(inner, s); err != nil {
		return r.failedWrite(ctx, s, err)
	}
	if err := r.recallMeta(inner, s); err != nil {
		return r.failedWrite(ctx, s, err)
	}
	begun, created := r.cfg.Clock.Now(), false
	var inClear, ignored []string
	var meta found
	doc, rev, err := r.cfg.Store.Update(inner, s.doc, func(old keystore.Document, exists bool) (keystore.Document, error) {
		created, inClear, ignored = !exists && !s.present, old.InClear, old.Ignored
		base, err := r.base(inner, s, old, exists)
		if err != nil {
			return base, err
		}
		if exists {
			base, meta = r.whole(s, base)
		}
		if err := r.checkProvided(ctx, s, base.Keys, !created); err != nil {
			return base, err
		}
		return base, edit(&base.Keys, !created)
	})
	took := r.cfg.Clock.Now().Sub(begun)
	if err == nil {
		events := r.accept(s, fetched{document: doc, revision: rev, created: created, inClear: inClear, ignored: ignored, meta: meta}, Local, took)
		r.remember(inner, s)
		return events, nil
	}
	return r.failedWrite(ctx, s, err)
}

// failedWrite explains a failed change. A write that got no answer may have
// taken place, so the document is read again.
func (r *Ring) failedWrite(ctx context.Context, s *Scope, err error) ([]Event, error) {
	switch problem.KindOf(err) {
	case problem.Invalid, problem.NotFound, problem.ReadOnly, problem.Undecryptable:
	default:
		if !errors.Is(err, errKeep) {
			r.noticed(s.doc)
		}
	}
	if errors.Is(err, errKeep) || ctx.Err() != nil || problem.NextOf(err) != "" {
		return nil, err
	}
	if k := problem.KindOf(err); k == problem.Undecryptable || k == problem.Unavailable {
		err = problem.Wrap(k, s.label()+" in "+r.store()+" were not changed", err).WithNext(doctor)
	}
	return nil, err
}

// base gives what a change starts from: the stored document; if that has
// disappeared, the last good one, so that it is written back; if there never
// was one, a generated one.
func (r *Ring) base(ctx context.Context, s *Scope, old keystore.Document, exists bool) (keystore.Document, error) {
	switch {
	case exists:
	case s.present:
		old = s.document
	default:
		return r.fresh(ctx, s.doc)
	}
	doc := tidy(old)
	if s.doc.IsHost() && doc.Keys.Master.Value == "" {
		return doc, r.addMaster(&doc.Keys)
	}
	return doc, nil
}

// tidy copies a document without the keys that don't count, which no store
// would write.
func tidy(d keystore.Document) keystore.Document {
	d = d.Clone()
	d.Keys.Keys, d.Keys.System = distinct(d.Keys.Keys), distinct(d.Keys.System)
	return d
}

func (r *Ring) checkValue(kind accesskey.Kind, value string) error {
	if err := accesskey.ValidateValue(value); err != nil {
		return err
	}
	if r.cfg.Mode == Enabled && !r.cfg.Format.Identifiable(kind, value) {
		return problem.New(problem.Invalid, fmt.Sprintf("the value is not an identifiable %s key, which StrictHISModeEnabled asks for", kind)).
			WithNext("leave the value out to have one generated")
	}
	return nil
}

// errNoKey leaves the name out: people do put the key where the name belongs.
func errNoKey() error {
	return problem.New(problem.NotFound, "there is no key of that name")
}

func keyEvent(t EventType, sec Section, s *Scope, name, what string) Event {
	return Event{
		Type: t, Cause: Local, Level: slog.LevelInfo, Function: s.name,
		Kind: sec.Kind, Name: name, Text: sec.changeText(name, what),
	}
}
