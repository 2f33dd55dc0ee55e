package enginetest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// Provider is an engine.Identity that writes down what it is told. Its secrets
// differ for each start. The zero value is ready; safe for concurrent use.
type Provider struct {
	mu     sync.Mutex
	calls  []string // "environment init-a 0", "ended …", "resume …", "init-ended", "gone"
	valid  map[string]string
	of     map[string]string // generations of starts
	refuse bool
	made   int
}

var _ engine.Identity = (*Provider)(nil)

// Environment implements engine.Identity.
func (p *Provider) Environment(_ context.Context, s engine.Start) ([]engine.Env, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note("environment", s)
	if p.valid == nil {
		p.valid, p.of = map[string]string{}, map[string]string{}
	}
	p.made++
	secret := fmt.Sprintf("header-%d", p.made)
	p.valid[s.Replica+"/"+s.Container], p.of[s.Replica+"/"+s.Container] = secret, s.Generation
	return []engine.Env{
		{Name: "IDENTITY_ENDPOINT", Value: "http://localhost:42356/msi/token"},
		{Name: "IDENTITY_HEADER", Value: secret, Secret: true},
		{Name: "START", Value: strconv.Itoa(s.Count)},
	}, nil
}

func (p *Provider) note(what string, s engine.Start) {
	if s.Role == engine.RoleSidecar {
		return
	}
	p.calls = append(p.calls, fmt.Sprintf("%s %s %d", what, s.Container, s.Count))
}

// Resume implements engine.Identity: it takes over the header that is valid.
func (p *Provider) Resume(_ context.Context, s engine.Start, env []engine.Env) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note("resume", s)
	has := func(e engine.Env) bool {
		return e.Name == "IDENTITY_HEADER" && e.Value == p.valid[s.Replica+"/"+s.Container]
	}
	if p.refuse || !slices.ContainsFunc(env, has) {
		return problem.New(problem.Denied, "this header is not known")
	}
	return nil
}

// Refuse makes Resume fail from now on.
func (p *Provider) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = true
}

// Ended implements engine.Identity.
func (p *Provider) Ended(s engine.Start) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note("ended", s)
	delete(p.valid, s.Replica+"/"+s.Container)
}

// InitEnded implements engine.Identity.
func (p *Provider) InitEnded(engine.Ref, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, "init-ended")
}

// Gone implements engine.Identity.
func (p *Provider) Gone(engine.Ref, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, "gone")
}

// Calls gives what was told so far, without what concerns sidecars.
func (p *Provider) Calls() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// Header gives the secret of a container that is valid now.
func (p *Provider) Header(replica, container string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.valid[replica+"/"+container]
}

// Generation gives what the last start of a container was for.
func (p *Provider) Generation(replica, container string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of[replica+"/"+container]
}
