package release

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// turn is the document that lets one deployment of an app go on at a time.
type turn struct {
	ID    string
	Node  string
	Since time.Time
}

func (r *Releases) turns() state.Collection[turn] {
	return state.Collection[turn]{Store: r.cfg.Store, Prefix: "/deploying/"}
}

// Deployment is a deployment that has begun. Its methods are not for concurrent
// use. Close must be called.
type Deployment struct {
	r       *Releases
	release state.Item[Release]
	turn    state.Item[turn]
	until   time.Time
	spool   spool // the package, once received
	sha     string
}

// Add deploys a zip: [Releases.Begin], [Deployment.Store] and [Deployment.Close].
func (r *Releases) Add(ctx context.Context, app string, zip io.Reader, meta Meta) (Release, error) {
	d, err := r.Begin(ctx, app, meta)
	if err != nil {
		return Release{}, err
	}
	_, err = d.Store(ctx, zip)
	err = errors.Join(err, d.Close(ctx))
	return d.Release(), err
}

// Begin reserves an app for a deployment and records it as Pending. It returns
// problem.Conflict while another deployment of the app goes on, on whichever
// node.
func (r *Releases) Begin(ctx context.Context, app string, meta Meta) (*Deployment, error) {
	if err := checkApp(app); err != nil {
		return nil, err
	}
	id, err := r.nextID(ctx, app)
	if err != nil {
		return nil, err
	}
	now := r.cfg.Clock.Now().UTC()
	d := &Deployment{r: r, until: now.Add(r.cfg.Limits.Deadline)}
	d.release.Name = id
	d.release.Value = Release{
		ID: id, App: app, Created: now, Status: Pending,
		By: clip(meta.By), Message: clip(meta.Message), Author: clip(meta.Author), Deployer: clip(meta.Deployer),
	}
	d.log("Deployment begun.")
	r.setRunning(app, id, true)
	if err := d.takeTurn(ctx); err != nil {
		r.setRunning(app, id, false)
		return nil, err
	}
	return d, nil
}

// clip bounds what callers say about a deployment.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	for i := range s {
		if i > 1000 {
			return s[:i] + "…"
		}
	}
	return s
}

const idTime = "20060102-150405.000"

// nextID makes an id that sorts after those there are, whatever the clock says.
func (r *Releases) nextID(ctx context.Context, app string) (string, error) {
	list, err := r.cfg.Store.List(ctx, r.collection(app).Prefix, state.Page{KeysOnly: true})
	if err != nil {
		return "", err
	}
	at := r.cfg.Clock.Now().UTC().Truncate(time.Millisecond)
	if n := len(list.Documents); n > 0 {
		last := string(list.Documents[n-1].Key[len(r.collection(app).Prefix):])
		if len(last) > len(idTime) {
			if t, err := time.Parse(idTime, last[:len(idTime)]); err == nil && !t.Before(at) {
				at = t.Add(time.Millisecond)
			}
		}
	}
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	return at.Format(idTime) + "-" + hex.EncodeToString(random[:]), nil
}

// takeTurn writes the turn and the Pending release together. A turn whose holder
// is gone is taken over.
func (d *Deployment) takeTurn(ctx context.Context) error {
	r, rel := d.r, d.release.Value
	app := strings.ToLower(rel.App)
	mine := turn{ID: rel.ID, Node: r.cfg.Node, Since: rel.Created}
	old, err := r.turns().Get(ctx, app)
	switch {
	case errors.Is(err, state.ErrNotFound):
	case err != nil:
		return err
	case r.alive(rel.App, old.Value):
		return errBusy(rel.App)
	default:
		if err := r.bury(ctx, rel.App, old.Value.ID); err != nil {
			return err
		}
	}
	put, err := r.turns().Put(app, mine, old.Revision)
	if err != nil {
		return err
	}
	first, err := r.collection(app).Put(rel.ID, rel, state.Absent)
	if err != nil {
		return err
	}
	rev, err := r.cfg.Store.Write(ctx, put, first)
	if errors.Is(err, state.ErrConflict) {
		return errBusy(rel.App)
	}
	if err != nil {
		return err
	}
	d.turn, d.release.Revision = state.Item[turn]{Name: app, Value: mine, Revision: rev}, rev
	return nil
}

func errBusy(app string) error {
	return problem.New(problem.Conflict, fmt.Sprintf("another deployment of app %s is in progress", app)).
		WithNext("wait until it has ended")
}

// alive reports whether who has a turn can still be at work, which nobody is long
// after the deadline. This node knows its own deployments.
func (r *Releases) alive(app string, t turn) bool {
	if t.Node == r.cfg.Node && !r.isRunning(app, t.ID) {
		return false
	}
	return r.cfg.Clock.Now().Before(t.Since.Add(r.cfg.Limits.Deadline + time.Minute))
}

func (r *Releases) isRunning(app, id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running[strings.ToLower(app)+"/"+id]
}

func (r *Releases) setRunning(app, id string, yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if yes {
		r.running[strings.ToLower(app)+"/"+id] = true
	} else {
		delete(r.running, strings.ToLower(app)+"/"+id)
	}
}

// bury marks a release as failed that nobody works on any more.
func (r *Releases) bury(ctx context.Context, app, id string) error {
	_, err := r.collection(app).Update(ctx, id, func(rel Release, exists bool) (Release, error) {
		if !exists || rel.Status == Ready || rel.Status == Failed {
			return rel, state.ErrUnchanged
		}
		r.fail(&rel, "The node that deployed stopped before the deployment was complete.")
		return rel, nil
	})
	return err
}

func (r *Releases) fail(rel *Release, text string) {
	now := r.cfg.Clock.Now().UTC()
	rel.Status, rel.Finished = Failed, now
	rel.Log = append(rel.Log, Entry{Time: now, Text: text, Error: true})
}

// Deploying gives the id of the release that is being deployed to an app now, ""
// if none is. A release that is Ready is still being deployed until the app has
// been told of it.
func (r *Releases) Deploying(ctx context.Context, app string) (string, error) {
	if err := checkApp(app); err != nil {
		return "", err
	}
	t, err := r.turns().Get(ctx, strings.ToLower(app))
	if errors.Is(err, state.ErrNotFound) || err == nil && !r.alive(app, t.Value) {
		return "", nil
	}
	return t.Value.ID, err
}

// Release gives the release as this deployment knows it.
func (d *Deployment) Release() Release { return d.release.Value }

func (d *Deployment) log(text string) {
	rel := &d.release.Value
	rel.Log = append(rel.Log, Entry{Time: d.r.cfg.Clock.Now().UTC(), Text: text})
}

// save writes the release as long as the turn is this deployment's.
func (d *Deployment) save(ctx context.Context, also ...state.Op) error {
	rel := d.release.Value
	text, err := json.Marshal(rel)
	if err != nil {
		return err
	}
	if len(text) > maxDocument {
		return problem.New(problem.TooLarge, fmt.Sprintf("the descriptions of the functions take %d bytes, more than %d", len(text), maxDocument)).
			WithNext("make function.json files smaller, or split the app")
	}
	rev, err := d.write(ctx, text, func() state.Op { return state.Check(d.r.turns().Key(d.turn.Name), d.turn.Revision) }, also...)
	if errors.Is(err, state.ErrConflict) {
		return problem.Wrap(problem.Conflict, "the deployment lost its turn", err).WithNext("deploy again")
	}
	if err == nil {
		d.release.Revision = rev
	}
	return err
}

// write stores the release together with an operation on the turn, as long as that
// is this deployment's.
func (d *Deployment) write(ctx context.Context, text []byte, turn func() state.Op, also ...state.Op) (state.Revision, error) {
	key := d.r.collection(d.release.Value.App).Key(d.release.Name)
	for again := true; ; again = false {
		ops := append([]state.Op{state.Put(key, text, d.release.Revision), turn()}, also...)
		rev, err := d.r.cfg.Store.Write(ctx, ops...)
		if !again || !errors.Is(err, state.ErrConflict) || !d.renewed(ctx) {
			return rev, err
		}
	}
}

// renewed takes the revisions that the documents of this deployment have by now,
// if they are still its own: sealing them with a new key changes nothing else.
func (d *Deployment) renewed(ctx context.Context) bool {
	turn, err := d.r.turns().Get(ctx, d.turn.Name)
	if err != nil || turn.Value.ID != d.turn.Value.ID {
		return false
	}
	rel, err := d.r.collection(d.release.Value.App).Get(ctx, d.release.Name)
	if err != nil || turn.Revision == d.turn.Revision && rel.Revision == d.release.Revision {
		return false
	}
	if was := rel.Value.Status; (was == Ready || was == Failed) && was != d.release.Value.Status {
		return false // written by somebody else, or by a write without an answer
	}
	d.turn.Revision, d.release.Revision = turn.Revision, rel.Revision
	return true
}

// maxDocument bounds a release's document: one write holds it and the package's.
const maxDocument = 768 << 10

// Store is [Deployment.Receive] and [Deployment.Build].
func (d *Deployment) Store(ctx context.Context, zip io.Reader) (Release, error) {
	if err := d.Receive(ctx, zip); err != nil {
		return d.release.Value, err
	}
	return d.Build(ctx)
}

// Receive reads a zip into a file of this node. Its errors are those of Build.
func (d *Deployment) Receive(ctx context.Context, zip io.Reader) error {
	ctx, stop := d.bounded(ctx)
	defer stop()
	return d.orGiveUp(ctx, d.receive(ctx, zip))
}

// Build checks the package that was received and makes the release Ready. A
// package that breaks a rule gives problem.Invalid or problem.TooLarge naming the
// file and the limit, and a release that is Failed; so does everything else that
// goes wrong, as far as the state can be written.
func (d *Deployment) Build(ctx context.Context) (Release, error) {
	ctx, stop := d.bounded(ctx)
	defer stop()
	err := d.orGiveUp(ctx, d.build(ctx))
	return d.release.Value, err
}

func (d *Deployment) orGiveUp(ctx context.Context, err error) error {
	if err != nil {
		d.giveUp(ctx, err)
	}
	return err
}

// bounded limits work to what is left of the deadline.
func (d *Deployment) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d.until.Sub(d.r.cfg.Clock.Now()))
}

// writeGrace is how long the record of an end may take after its cause, which may
// be that the caller is gone.
const writeGrace = 10 * time.Second

// giveUp records a failure.
func (d *Deployment) giveUp(ctx context.Context, cause error) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), writeGrace)
	defer stop()
	rel := &d.release.Value
	rel.Functions, rel.Faults = nil, nil
	d.r.fail(rel, PublicText(cause))
	if err := d.save(ctx); err != nil {
		d.r.cfg.Log.Warn("a failed deployment could not be recorded", "app", rel.App, "release", rel.ID, "reason", err)
	}
	if rel.SHA256 == "" {
		return
	}
	if err := d.r.dropUnwanted(ctx, strings.ToLower(rel.App), rel.ID, rel.SHA256); err != nil {
		d.r.cfg.Log.Warn("a package that failed could not be removed", "app", rel.App, "release", rel.ID, "reason", err)
	}
}

// PublicText gives what a deployment's log says of an error: messages meant for
// callers, nothing of this machine.
func PublicText(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "The deployment took too long."
	}
	if errors.Is(err, context.Canceled) {
		return "The connection ended before the deployment was complete."
	}
	var p *problem.Error
	if !errors.As(err, &p) || p.Kind == problem.Internal {
		return "An internal error ended the deployment; the server's log has the cause."
	}
	text := p.Message
	if next := problem.NextOf(err); next != "" {
		text += " (" + next + ")"
	}
	return text
}

// Close ends the deployment's turn. activation, if given, says why the release
// could not be made the active one, and is recorded. Closing twice does nothing.
func (d *Deployment) Close(ctx context.Context, activation ...error) error {
	if d.turn.Name == "" {
		return nil
	}
	d.discardSpool()
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), writeGrace)
	defer stop()
	rel := &d.release.Value
	defer d.r.setRunning(rel.App, rel.ID, false)
	if err := errors.Join(activation...); err != nil && rel.Status == Ready {
		rel.Activation = PublicText(err)
		rel.Log = append(rel.Log, Entry{Time: d.r.cfg.Clock.Now().UTC(), Text: rel.Activation, Error: true})
	} else if rel.Status == Ready {
		d.log("Deployment successful.")
	} else if rel.Status != Failed {
		d.r.fail(rel, "The deployment was given up.")
	}
	key := d.r.turns().Key(d.turn.Name)
	text, err := json.Marshal(rel)
	if err == nil {
		_, err = d.write(ctx, text, func() state.Op { return state.Delete(key, d.turn.Revision) })
	}
	d.turn.Name = ""
	if errors.Is(err, state.ErrConflict) { // pruned, or the turn was taken over
		return nil
	}
	return err
}
