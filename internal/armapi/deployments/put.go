package deployments

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// nestedKey is for the depth of nested deployments in a context.
type nestedKey struct{}

// maxDepth is how deep deployments can be nested.
const maxDepth = 5

func depth(ctx context.Context) int {
	n, _ := ctx.Value(nestedKey{}).(int)
	return n
}

// put begins a deployment. A short one ends within the request; for a longer one
// the answer tells where to ask.
func (s *Service) put(c *arm.Call) (arm.Reply, error) {
	if depth(c.Context()) > maxDepth {
		return arm.Reply{}, arm.Faultf(http.StatusBadRequest, "InvalidTemplate", "Deployments can be nested %d deep.", maxDepth)
	}
	r, err := s.read(c)
	if err != nil {
		return arm.Reply{}, err
	}
	j, err := s.newJob(c, r)
	if err != nil {
		return arm.Reply{}, err
	}
	created, err := s.begin(c, j)
	if err != nil {
		return arm.Reply{}, err
	}
	s.await(c, j)
	now, err := s.cfg.Inventory.Get(c.Context(), r.id)
	if err != nil {
		return arm.Reply{}, err
	}
	body, rec, err := s.describe(now)
	if err != nil {
		return arm.Reply{}, err
	}
	reply := arm.OK(body)
	if created || active(rec.shown.ProvisioningState) {
		reply.Status = http.StatusCreated
	}
	if rec.shown.ProvisioningState != succeeded { // failures are read there too
		reply.Header = http.Header{
			"Azure-Asyncoperation": {c.BaseURL + r.id.String() + "/operationStatuses/" + rec.kept.Attempt + "?api-version=" + c.APIVersion},
			"Retry-After":          {"1"},
		}
	}
	return reply, nil
}

// await waits until the job ends, but not for long.
func (s *Service) await(c *arm.Call, j *job) {
	timer := s.cfg.Clock.NewTimer(s.cfg.Patience)
	defer timer.Stop()
	select {
	case <-j.done:
	case <-timer.C():
	case <-c.Context().Done():
	}
}

// begin records the job and starts it: nested ones at once, as part of the one
// that they are nested in.
func (s *Service) begin(c *arm.Call, j *job) (bool, error) {
	nested := depth(c.Context()) > 0
	if !nested {
		if err := s.enter(j); err != nil {
			return false, err
		}
	}
	created, err := s.create(c.Context(), j.req.id, j.caller.ObjectID, j.rec)
	if err != nil {
		if !nested {
			s.leave(j)
		}
		return false, err
	}
	if nested {
		j.run(c.Context(), nil)
		return created, nil
	}
	go func() {
		defer s.leave(j)
		ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Longest)
		defer cancel()
		j.run(ctx, s.running)
	}()
	return created, nil
}

// enter counts a job, up to the limit.
func (s *Service) enter(j *job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := j.req.id.Key()
	switch {
	case s.closed:
		return problem.New(problem.Unavailable, "the node is being stopped").WithNext("try again")
	case s.jobs[key] != nil:
		return activeFault(j.req.id)
	case len(s.jobs) >= s.cfg.Running+s.cfg.Waiting:
		return problem.New(problem.Throttled, "too many deployments are waiting").WithNext("try again later")
	}
	s.jobs[key] = j
	s.group.Add(1)
	return nil
}

func (s *Service) leave(j *job) {
	s.mu.Lock()
	delete(s.jobs, j.req.id.Key())
	s.mu.Unlock()
	s.group.Done()
}

func activeFault(id resource.ID) error {
	return arm.Faultf(http.StatusConflict, "DeploymentActive",
		"The deployment '%s' is still running. Wait until it has ended, or cancel it.", id.Name())
}

// newJob makes the job of a request.
func (s *Service) newJob(c *arm.Call, r *request) (*job, error) {
	now := s.cfg.Clock.Now().UTC()
	rec := record{location: r.location, tags: r.tags, shown: s.validated(c, r), kept: private{
		Attempt: uuid.NewString(), Node: s.cfg.Node, Begun: now, Alive: now,
	}}
	rec.shown.ProvisioningState, rec.shown.Validated = accepted, nil
	text, err := json.Marshal(rec.shown.Parameters)
	if err != nil {
		return nil, err
	}
	if len(text) > maxParameters {
		return nil, arm.Faultf(http.StatusBadRequest, "InvalidTemplate", "The parameters have more than %d bytes.", maxParameters)
	}
	// A template into which an outer one wrote its values may have secrets in it.
	if flat, _ := c.Context().Value(flatKey{}).(bool); !flat && len(r.text) <= maxTemplate {
		rec.kept.Template = compact(r.text)
	}
	return &job{
		s: s, req: r, rec: rec, caller: c.Caller, baseURL: c.BaseURL, remote: c.HTTP.RemoteAddr, correlation: c.CorrelationID,
		done: make(chan struct{}),
	}, nil
}

// flatKey marks the context of a nested deployment that has values of the outer
// one in its template.
type flatKey struct{}

// validated gives what is known of a deployment before it runs.
func (s *Service) validated(c *arm.Call, r *request) shown {
	out := shown{
		TemplateHash: hash(r.text), Mode: mode(r.complete), ProvisioningState: succeeded, Timestamp: s.cfg.Clock.Now().UTC(),
		Duration: "PT0S", CorrelationID: c.CorrelationID, Providers: providersOf(r), Dependencies: dependenciesOf(r),
		Parameters: r.plan.Parameters(),
	}
	for _, res := range r.plan.Resources {
		if res.Deploy {
			out.Validated = append(out.Validated, idOf{res.ID})
		}
	}
	return out
}

// hash gives a number that is the same for the same template.
func hash(text []byte) string {
	sum := sha256.Sum256(compact(text))
	return strconv.FormatUint(binary.BigEndian.Uint64(sum[:]), 10)
}

func compact(text []byte) []byte {
	var v any
	if json.Unmarshal(text, &v) != nil { // it was read before
		return text
	}
	out, err := json.Marshal(v)
	if err != nil {
		return text
	}
	return out
}

// maxShown bounds how many dependencies are shown.
const maxShown = 400

func providersOf(r *request) []provider {
	list := []provider{}
	for _, res := range r.plan.Resources {
		if !res.Deploy {
			continue
		}
		namespace, typ, _ := strings.Cut(res.Type, "/")
		at := -1
		for i := range list {
			if strings.EqualFold(list[i].Namespace, namespace) {
				at = i
			}
		}
		if at < 0 {
			at, list = len(list), append(list, provider{Namespace: namespace, Types: []providerType{}})
		}
		list[at].add(typ, res.Location)
	}
	return list
}

func (p *provider) add(typ, location string) {
	for i := range p.Types {
		if strings.EqualFold(p.Types[i].Type, typ) {
			for _, have := range p.Types[i].Locations {
				if have == location {
					return
				}
			}
			p.Types[i].Locations = append(p.Types[i].Locations, location)
			return
		}
	}
	p.Types = append(p.Types, providerType{typ, []string{location}})
}

func dependenciesOf(r *request) []dependency {
	list, edges := []dependency{}, 0
	for i, res := range r.plan.Resources {
		d := dependency{target: targetOf(r, i)}
		for _, j := range res.After {
			if r.plan.Resources[j].Deploy && edges < maxShown {
				d.DependsOn = append(d.DependsOn, targetOf(r, j))
				edges++
			}
		}
		if res.Deploy && len(d.DependsOn) > 0 {
			list = append(list, d)
		}
	}
	return list
}

func targetOf(r *request, i int) target {
	res := r.plan.Resources[i]
	return target{res.ID, res.Type, res.Name}
}

// isoDuration writes a duration as ISO 8601 does.
func isoDuration(d time.Duration) string {
	return "PT" + strconv.FormatFloat(max(d, 0).Seconds(), 'f', -1, 64) + "S"
}
