package supervise

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// replica is one replica and the goroutine that keeps it.
type replica struct {
	r       *revision
	name    string
	digest  string
	spec    engine.Spec // as it was when the replica began
	created time.Time
	ctx     context.Context // ends with the wish for this replica
	end     context.CancelFunc

	mu      sync.Mutex
	found   map[string]Found // containers of before, by name; taken by their first start
	old     bool             // of a spec that nobody knows any more
	state   engine.ReplicaState
	failure error // why it does not get on
	addrs   map[int]string
	side    *container
	inits   []*container
	mains   []*container
}

// newReplica makes a replica that is to be started, or one that was found.
func newReplica(r *revision, name string, parts []Found) *replica {
	p := &replica{r: r, name: name, digest: r.digest, spec: r.spec, created: r.e.cfg.Clock.Now(), state: engine.ReplicaPending, found: map[string]Found{}}
	p.ctx, p.end = context.WithCancel(r.ctx)
	for _, f := range parts {
		if f.Container != "" {
			p.found[f.Container], p.digest, p.created = f, f.Digest, f.Created
		}
	}
	if p.old = p.digest != r.digest; p.old {
		p.spec.Init, p.spec.Main = nil, nil
		for _, f := range p.found {
			if f.Role == engine.RoleMain {
				p.spec.Main = append(p.spec.Main, engine.Container{Name: f.Container})
			}
		}
	}
	if s := r.e.rt.Sidecar(); s != nil {
		p.side = p.part(engine.RoleSidecar, *s)
	}
	for _, c := range p.spec.Init {
		p.inits = append(p.inits, p.part(engine.RoleInit, c))
	}
	for _, c := range p.spec.Main {
		p.mains = append(p.mains, p.part(engine.RoleMain, c))
	}
	return p
}

func (p *replica) part(role engine.Role, c engine.Container) *container {
	return &container{p: p, role: role, spec: c, state: engine.ContainerWaiting}
}

// run keeps the replica until its wish ends, then removes it; when the engine is
// closed it is left as it is.
func (p *replica) run() {
	for n := 0; p.ctx.Err() == nil; n++ {
		began := p.r.e.cfg.Clock.Now()
		err := p.live(p.ctx)
		if p.ctx.Err() != nil {
			break
		}
		p.fail(err)
		if p.isOld() {
			break // it cannot be made anew
		}
		if p.r.e.cfg.Clock.Now().Sub(began) > steady {
			n = 0
		}
		if engine.ReasonOf(err) != engine.ReasonEngine {
			p.clear(p.ctx)
		}
		_ = clock.Sleep(p.ctx, p.r.e.cfg.Clock, pause(n))
	}
	if p.r.e.ctx.Err() == nil {
		p.leave()
	}
	p.end()
	p.r.gone(p)
}

func (p *replica) isOld() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.old }

// live brings the replica up and returns when it cannot go on as it is.
func (p *replica) live(ctx context.Context) error {
	if !p.whole() {
		return nil
	}
	if err := p.pull(ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer stop()
	var lost error
	var once sync.Once
	if p.side != nil {
		up := make(chan error, 1)
		work.Go(func() {
			err := p.side.once(ctx, up)
			once.Do(func() { lost = err })
			stop()
		})
		if err := <-up; err != nil {
			return err
		}
	}
	if err := p.locate(ctx); err != nil {
		return err
	}
	if !p.mainsFound() {
		if err := p.initialise(ctx); err != nil {
			stop()
			work.Wait()
			if lost != nil {
				return lost
			}
			return err
		}
	}
	p.r.e.initEnded(p)
	p.advance(engine.ReplicaRunning)
	for _, c := range p.mains {
		work.Go(func() {
			if err := c.keep(ctx); err != nil {
				once.Do(func() { lost = err })
				stop()
			}
		})
	}
	<-ctx.Done()
	work.Wait()
	return lost
}

// whole tells whether what was found can go on: containers without their network
// cannot, nor can a replica of which nothing runs, or one of an older spec that was
// not past its init containers.
func (p *replica) whole() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.old && len(p.mains) == 0 {
		return false
	}
	if len(p.found) == 0 {
		return true
	}
	if p.side != nil {
		return p.found[p.side.spec.Name].Running
	}
	for _, f := range p.found {
		if f.Running {
			return true
		}
	}
	return false
}

// pull fetches the images that are not there.
func (p *replica) pull(ctx context.Context) error {
	if p.isOld() {
		return nil
	}
	for _, c := range p.all() {
		if c == p.side {
			continue
		}
		image := c.spec.Image
		there, err := p.r.e.rt.Present(ctx, image)
		if err != nil {
			return err
		}
		if there {
			continue
		}
		if err := p.r.e.pull(ctx, p.r.ref, image); err != nil {
			return err
		}
		p.r.event(p.name, c.spec.Name, engine.ReasonPulled, "image "+image+" was pulled")
	}
	return nil
}

func (e *Engine) pull(ctx context.Context, ref engine.Ref, image string) error {
	var with engine.Credential
	if e.cfg.Registry != nil {
		var err error
		if with, err = e.cfg.Registry.Credential(ctx, ref, image); err != nil {
			if engine.ReasonOf(err) != engine.ReasonOther {
				return err
			}
			return engine.Fail(engine.ReasonImageAuth, problem.Wrap(problem.KindOf(err), "there is no credential to pull image "+image, err))
		}
	}
	return e.rt.Pull(ctx, image, with)
}

// locate finds out where the ports are.
func (p *replica) locate(ctx context.Context) error {
	addrs, err := p.r.e.rt.Addresses(ctx, p.name)
	if err != nil && p.side != nil {
		return err
	}
	p.mu.Lock()
	p.addrs = addrs
	p.mu.Unlock()
	return nil
}

// mainsFound tells whether the replica was past its init containers before. They
// are not run again then, nor are init containers of a replica of an older spec.
func (p *replica) mainsFound() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.old {
		return true
	}
	for _, c := range p.mains {
		if _, ok := p.found[c.spec.Name]; ok {
			return true
		}
	}
	return false
}

func (p *replica) initialise(ctx context.Context) error {
	p.advance(engine.ReplicaInit)
	for _, c := range p.inits {
		if err := c.untilSuccess(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) initEnded(p *replica) {
	if e.cfg.Identity != nil {
		e.cfg.Identity.InitEnded(p.r.ref, p.name)
	}
}

func (p *replica) advance(to engine.ReplicaState) {
	p.mu.Lock()
	p.state, p.failure = to, nil
	p.mu.Unlock()
	p.r.nudge()
}

func (p *replica) fail(err error) {
	if err == nil {
		err = engine.Fail(engine.ReasonReplaced, problem.New(problem.Unavailable, "what the replica stood on is gone"))
	}
	p.mu.Lock()
	p.state, p.failure = engine.ReplicaPending, err
	p.mu.Unlock()
	p.r.event(p.name, "", engine.ReasonOf(err), err.Error())
}

// clear removes what is left of the replica before it is made anew.
func (p *replica) clear(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		if err := p.r.e.rt.Remove(ctx, p.name); err == nil {
			break
		}
		_ = clock.Sleep(ctx, p.r.e.cfg.Clock, pause(n))
	}
	p.mu.Lock()
	clear(p.found)
	p.mu.Unlock()
	for _, c := range p.all() {
		c.forget()
	}
	if p.r.e.cfg.Identity != nil {
		p.r.e.cfg.Identity.Gone(p.r.ref, p.name)
	}
}

// leave ends the main containers as gently as they are allowed to, then removes
// everything; only the end of the engine keeps it from trying.
func (p *replica) leave() {
	p.mu.Lock()
	p.state = engine.ReplicaTerminating
	p.mu.Unlock()
	p.r.nudge()
	grace := p.spec.Grace
	if grace == 0 {
		grace = 30 * time.Second
	}
	if drain := p.r.e.cfg.Drain; drain != nil {
		drain(p.r.e.ctx, p.r.ref, p.name)
	}
	var work sync.WaitGroup
	for _, c := range p.mains {
		if id, _ := c.current(); id != "" {
			work.Go(func() { _ = p.r.e.rt.Stop(p.r.e.ctx, id, grace) })
		}
	}
	work.Wait()
	p.clear(p.r.e.ctx)
	p.r.event(p.name, "", engine.ReasonTerminated, "the replica was removed")
}

func (p *replica) leaving() bool { return p.ctx.Err() != nil }

func (p *replica) all() []*container {
	var out []*container
	if p.side != nil {
		out = append(out, p.side)
	}
	return append(append(out, p.inits...), p.mains...)
}

// container finds one of the app's containers; the sidecar is nobody's to look into.
func (p *replica) container(name string) (id string, running bool) {
	for _, c := range p.all() {
		if c != p.side && c.spec.Name == name {
			return c.current()
		}
	}
	return "", false
}

// failing tells whether the replica serves nobody and it is known why.
func (p *replica) failing() bool { s := p.status(); return !s.Ready && s.Reason != "" }

func (p *replica) ready() bool { return p.status().Ready }

func (p *replica) status() engine.Replica {
	p.mu.Lock()
	s := engine.Replica{Name: p.name, State: p.state, Created: p.created, Addresses: p.addrs}
	failure := p.failure
	p.mu.Unlock()
	if p.leaving() {
		s.State = engine.ReplicaTerminating
	}
	s.Ready = s.State == engine.ReplicaRunning
	for _, c := range p.all() {
		one := c.status()
		s.Containers = append(s.Containers, one)
		s.Ready = s.Ready && (c.role != engine.RoleMain || one.Ready)
		if one.Reason != "" && s.Reason == "" {
			s.Reason, s.Message = one.Reason, fmt.Sprintf("container %s: %s", one.Name, one.Message)
		}
	}
	if failure != nil {
		s.Reason, s.Message = engine.ReasonOf(failure), failure.Error()
	}
	return s
}

// take gives the container of before with a name, once.
func (p *replica) take(name string) (Found, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.found[name]
	delete(p.found, name)
	return f, ok && f.Running
}
