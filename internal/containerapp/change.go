package containerapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// draft is an app with its revisions on the way to one write. Every write of a
// revision writes the app too, so that the app's document guards all of them.
type draft struct {
	apps      *Apps
	id        resource.ID
	base      inventory.Resource
	resource  inventory.Resource
	private   private
	props     Properties
	revisions []state.Item[Revision]
	changed   map[string]bool // revisions to write, by name in lower case
	removed   map[string]bool
	also      []state.Op
	dirty     bool
}

// touch says that what runs must take up this change.
func (d *draft) touch() {
	d.dirty = true
	d.private.Generation++
}

// draftOf reads an app into a draft.
func (a *Apps) draftOf(ctx context.Context, had App) (*draft, error) {
	d := &draft{apps: a, id: had.ID, base: had.Resource, resource: had.Resource, props: had.Properties,
		changed: map[string]bool{}, removed: map[string]bool{}}
	if err := json.Unmarshal(had.Resource.Private, &d.private); err != nil {
		return nil, problem.Wrap(problem.Undecryptable, fmt.Sprintf("container app %q cannot be understood", had.Name), err)
	}
	var err error
	d.revisions, err = a.revisions(had.ID).List(ctx)
	return d, err
}

// change brings what a client said, already merged with what there was, into an
// app.
func (a *Apps) change(ctx context.Context, id resource.ID, by string, had App, exists bool, s Spec, next Properties) (App, error) {
	if s.Allow != nil {
		if err := s.Allow(had, exists); err != nil {
			return App{}, inventory.Final(err)
		}
	}
	d := &draft{apps: a, id: id, changed: map[string]bool{}, removed: map[string]bool{}}
	if exists {
		var err error
		if d, err = a.draftOf(ctx, had); err != nil {
			return App{}, err
		}
	} else if err := d.begin(ctx); err != nil {
		return App{}, err
	}
	if err := d.apply(ctx, s, next, exists); err != nil {
		return App{}, inventory.Final(err)
	}
	if !d.dirty {
		return had, nil
	}
	return a.write(ctx, d, by, exists)
}

// begin prepares an app that is not there yet.
func (d *draft) begin(ctx context.Context) error {
	in, err := d.apps.inv.Enter(ctx, d.id)
	if err != nil {
		return inventory.Final(err)
	}
	left, err := d.apps.revisions(d.id).List(ctx) // of one that was deleted, if that was interrupted
	if err != nil {
		return err
	}
	for _, item := range left {
		d.removed[item.Name] = true
	}
	d.private.UID = uuid.NewString()
	d.also = append(d.also, in)
	d.dirty = true
	return nil
}

func (d *draft) apply(ctx context.Context, s Spec, next Properties, exists bool) error {
	r := &d.resource
	for at, value := range map[*string]string{&r.Location: s.Location, &r.Kind: s.Kind} {
		if value != "" && *at != value {
			*at, d.dirty = value, true
		}
	}
	if !sameTags(r.Tags, s.Tags) {
		r.Tags, d.dirty = s.Tags, true
	}
	if s.Identity != nil && string(r.Identity) != string(s.Identity) {
		r.Identity, d.dirty = s.Identity, true // what runs does not restart
	}
	block, err := managed.Parse(r.Identity)
	if err != nil {
		return err
	}
	next.normalize()
	if err := validate(d.id.Name(), next, block, d.private.Secrets); err != nil {
		return err
	}
	if err := d.environment(ctx, next, exists); err != nil {
		return err
	}
	if err := d.claim(ctx, next, exists); err != nil {
		return err
	}
	d.secrets(next.Configuration)
	if err := d.template(&next, exists, s.whole); err != nil {
		return err
	}
	if err := d.mode(next); err != nil {
		return err
	}
	return d.store(next)
}

// environment refuses an environment that is not there, and moving to another.
func (d *draft) environment(ctx context.Context, next Properties, exists bool) error {
	id, err := resource.Parse(next.EnvironmentID)
	if err != nil {
		return err
	}
	if exists {
		had, err := resource.Parse(d.props.EnvironmentID)
		if err == nil && had.Equal(id) {
			return nil
		}
		return Faults{{CodeTemplate, "environmentId", "The environment of a container app cannot be changed."}}
	}
	r, err := d.apps.inv.Get(ctx, id)
	if errors.Is(err, problem.NotFound) {
		return Faults{{CodeEnvironment, "environmentId", fmt.Sprintf("The environment '%s' does not exist or is not accessible.", id)}}
	}
	if err == nil && deletingEnvironment(r) {
		return problem.New(problem.Conflict, fmt.Sprintf("environment %q is being deleted", id.Name())).WithNext("choose another environment")
	}
	if err == nil {
		d.also = append(d.also, state.Check(inventory.Key(id), r.Revision)) // it cannot be deleted meanwhile
	}
	return err
}

// secrets moves values of secrets to where clients do not see them.
func (d *draft) secrets(c *Configuration) {
	next := map[string]string{}
	for i, s := range c.Secrets {
		switch {
		case s.Value != nil:
			next[s.Name] = *s.Value
		case s.KeyVaultURL == "":
			next[s.Name] = d.private.Secrets[s.Name]
		}
		c.Secrets[i].Value = nil
	}
	same := len(next) == len(d.private.Secrets)
	for name, value := range next {
		old, there := d.private.Secrets[name]
		same = same && there && old == value
	}
	if !same {
		d.private.Secrets = next
		d.touch()
	}
}

// template makes a revision if the template is another one than that of the last.
// whole says that the client sent all of it.
func (d *draft) template(next *Properties, exists, whole bool) error {
	if exists && d.private.Latest != "" && sameTemplate(*d.props.Template, *next.Template) {
		next.Template.RevisionSuffix = d.props.Template.RevisionSuffix
		if whole {
			d.again()
		}
		return nil
	}
	suffix := next.Template.RevisionSuffix
	if suffix == "" {
		suffix = d.freshSuffix()
	} else if d.find(RevisionName(d.id.Name(), suffix)) != nil {
		c := faults{}
		c.field("template.revisionsuffix", suffix, "revision with suffix %s already exists.", suffix)
		return c.err()
	}
	if next.Configuration.Mode == Multiple && d.active() >= MaxActive {
		return tooManyActive()
	}
	name := RevisionName(d.id.Name(), suffix)
	d.revisions = append(d.revisions, state.Item[Revision]{Name: strings.ToLower(name), Value: Revision{
		Name: name, Created: d.apps.clock.Now().UTC(), Number: d.lastNumber() + 1, Active: true, Template: *next.Template,
		Status: Status{Provisioning: InProgress, Running: Processing},
	}})
	d.changed[strings.ToLower(name)] = true
	d.private.Latest = name
	d.touch()
	return nil
}

// again tries the latest revision anew if it failed: what it needed can have come
// since, such as a right of its identity.
func (d *draft) again() {
	latest := d.find(d.private.Latest)
	if latest == nil || !latest.Value.Active || latest.Value.Status.Provisioning != Failed {
		return
	}
	latest.Value.Restarts++
	latest.Value.Status = Status{Provisioning: InProgress, Running: Processing}
	d.mark(&latest.Value)
}

// mode checks that traffic goes to revisions that are there.
func (d *draft) mode(next Properties) error {
	c := faults{}
	if g := next.Configuration.Ingress; g != nil {
		for i, t := range g.Traffic {
			if t.RevisionName == "" {
				continue
			}
			if r := d.find(t.RevisionName); r == nil || !r.Value.Active && t.Weight > 0 {
				c.field(fmt.Sprintf("configuration.ingress.traffic[%d].revisionName", i), t.RevisionName, "the app has no active revision of this name")
			}
		}
	}
	return c.err()
}

// store puts the properties into the document.
func (d *draft) store(next Properties) error {
	text, err := json.Marshal(next)
	if err != nil {
		return problem.Wrap(problem.Invalid, "properties cannot be stored", err)
	}
	if len(text) > MaxProperties {
		return problem.New(problem.TooLarge, fmt.Sprintf("properties have %d bytes, more than the limit of %d", len(text), MaxProperties))
	}
	if string(text) != string(d.resource.Properties) {
		d.touch()
	}
	d.resource.Properties, d.props = text, next
	d.settle()
	return nil
}

func (d *draft) find(name string) *state.Item[Revision] {
	i := slices.IndexFunc(d.revisions, func(r state.Item[Revision]) bool { return strings.EqualFold(r.Value.Name, name) })
	if i < 0 {
		return nil
	}
	return &d.revisions[i]
}

// MaxActive is how many revisions of an app can be active: what changes all of them
// is one write.
const MaxActive = 90

func (d *draft) active() (n int) {
	for _, r := range d.revisions {
		if r.Value.Active {
			n++
		}
	}
	return n
}

func tooManyActive() error {
	return problem.New(problem.Conflict, fmt.Sprintf("the app has %d active revisions, which is the most there can be", MaxActive)).
		WithNext("deactivate revisions that are not needed any more")
}

func (d *draft) lastNumber() (n int64) {
	for _, r := range d.revisions {
		n = max(n, r.Value.Number)
	}
	return n
}

func (d *draft) freshSuffix() string {
	for {
		if s := d.apps.suffix(); d.find(RevisionName(d.id.Name(), s)) == nil {
			return s
		}
	}
}

// settle ends what is not wanted any more: where one revision is active at a time,
// all but the latest once that is ready, so that the one before serves until then;
// and inactive ones that are too many. A latest one that failed leaves the one
// before it serving.
func (d *draft) settle() {
	latest := d.find(d.private.Latest)
	if d.props.Configuration.Mode == Single && latest != nil {
		for i := range d.revisions {
			r := &d.revisions[i]
			superseded := latest.Value.Status.Provisioning == Provisioned || !strings.EqualFold(r.Value.Name, d.private.LatestReady)
			if r.Value.Active && r.Name != latest.Name && superseded {
				r.Value.Active, d.changed[r.Name] = false, true
				d.touch()
			}
		}
	}
	d.prune()
}

func (d *draft) prune() {
	var inactive []state.Item[Revision]
	for _, r := range d.revisions {
		if !r.Value.Active && !strings.EqualFold(r.Value.Name, d.private.Latest) {
			inactive = append(inactive, r)
		}
	}
	slices.SortFunc(inactive, func(x, y state.Item[Revision]) int { return int(x.Value.Number - y.Value.Number) })
	for _, r := range inactive[:max(0, len(inactive)-*d.props.Configuration.MaxInactive)] {
		d.removed[r.Name], d.dirty = true, true
	}
}

// ops gives the operations that store the changed revisions.
func (d *draft) ops() ([]state.Op, error) {
	ops, c := d.also, d.apps.revisions(d.id)
	for _, r := range d.revisions {
		if !d.changed[r.Name] || d.removed[r.Name] {
			continue
		}
		op, err := c.Put(r.Name, r.Value, state.Any) // the app's document guards it
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	for name := range d.removed {
		ops = append(ops, state.Delete(c.Key(name), state.Any))
		if len(ops) >= state.MaxOps-4 {
			break // the next write goes on
		}
	}
	return ops, nil
}

// edit changes an app's run state or revisions. change may run more than once;
// nothing is written when it changes nothing. by "" leaves who changed it last.
func (a *Apps) edit(ctx context.Context, id resource.ID, by string, change func(*draft) error) (App, error) {
	return inventory.Retry(ctx, "container app", id, func() (App, error) {
		had, err := a.Get(ctx, id)
		if err != nil {
			return App{}, err
		}
		who := by
		if who == "" {
			who = had.Resource.ChangedBy
		}
		d, err := a.draftOf(ctx, had)
		if err != nil {
			return App{}, err
		}
		if err := change(d); err != nil {
			return App{}, inventory.Final(err)
		}
		if !d.dirty {
			return had, nil
		}
		return a.write(ctx, d, who, true)
	})
}

// write stores a draft; inventory.ErrStale or a conflict when what it was made from has
// changed.
func (a *Apps) write(ctx context.Context, d *draft, by string, exists bool) (App, error) {
	text, err := json.Marshal(d.private)
	if err != nil {
		return App{}, problem.Wrap(problem.Internal, "a container app cannot be stored", err)
	}
	d.resource.Private = text
	ops, err := d.ops()
	if err != nil {
		return App{}, err
	}
	r, _, err := a.inv.Write(ctx, d.id, by, func(old inventory.Resource, there bool) (inventory.Resource, error) {
		if there != exists || there && old.Revision != d.base.Revision {
			return old, inventory.ErrStale
		}
		return d.resource, nil
	}, ops...)
	if err != nil {
		return App{}, err
	}
	return FromResource(r)
}

func sameTags(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for name, value := range a {
		if other, there := b[name]; !there || other != value {
			return false
		}
	}
	return true
}

// randomSuffix gives seven random letters and digits.
func randomSuffix() string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	text := make([]byte, 7)
	for i := range text {
		text[i] = letters[rand.IntN(len(letters))]
	}
	return string(text)
}
