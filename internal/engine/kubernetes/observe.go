package kubernetes

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/engine"
)

// deploy is what is used of a Deployment.
type deploy struct {
	Metadata header `json:"metadata"`
	Spec     struct {
		Replicas int `json:"replicas"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration int64       `json:"observedGeneration"`
		Replicas           int         `json:"replicas"`
		UpdatedReplicas    int         `json:"updatedReplicas"`
		Conditions         []condition `json:"conditions"`
	} `json:"status"`
}

type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// settled reports whether there are none but replicas of the newest spec, nor will be.
func (d *deploy) settled() bool {
	return d != nil && d.Status.ObservedGeneration >= d.Metadata.Generation && d.Status.Replicas == d.Status.UpdatedReplicas && d.Status.Replicas == d.Spec.Replicas
}

// pod is what is used of a Pod.
type pod struct {
	Metadata header `json:"metadata"`
	Spec     struct {
		Init []named `json:"initContainers"`
		Main []named `json:"containers"`
	} `json:"spec"`
	Status struct {
		Phase      string            `json:"phase"`
		Reason     string            `json:"reason"`
		Message    string            `json:"message"`
		IP         string            `json:"podIP"`
		Conditions []condition       `json:"conditions"`
		Init       []containerStatus `json:"initContainerStatuses"`
		Main       []containerStatus `json:"containerStatuses"`
	} `json:"status"`
}

type named struct {
	Name string `json:"name"`
}

type containerStatus struct {
	Name      string         `json:"name"`
	Ready     bool           `json:"ready"`
	Restarts  int            `json:"restartCount"`
	State     containerState `json:"state"`
	LastState containerState `json:"lastState"`
}

type containerState struct {
	Waiting *struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"waiting"`
	Running *struct {
		Started time.Time `json:"startedAt"`
	} `json:"running"`
	Terminated *terminated `json:"terminated"`
}

type terminated struct {
	Code     int       `json:"exitCode"`
	Reason   string    `json:"reason"`
	Message  string    `json:"message"`
	Started  time.Time `json:"startedAt"`
	Finished time.Time `json:"finishedAt"`
}

// last gives how a container ended the last time, nil if it never did.
func (s containerStatus) last() *terminated {
	return cmp.Or(s.State.Terminated, s.LastState.Terminated)
}

// over reports whether the pod ended and does not come back.
func (p *pod) over() bool { return p.Status.Phase == "Failed" || p.Status.Phase == "Succeeded" }

// initEnded reports whether all init containers but the sidecar succeeded.
func (p *pod) initEnded() bool {
	done := map[string]bool{}
	for _, s := range p.Status.Init {
		done[s.Name] = s.State.Terminated != nil && s.State.Terminated.Code == 0
	}
	for _, c := range p.Spec.Init {
		if c.Name != sidecarName && !done[c.Name] {
			return false
		}
	}
	return true
}

// serving reports whether a main container runs.
func (p *pod) serving() bool {
	return slices.ContainsFunc(p.Status.Main, func(s containerStatus) bool { return s.State.Running != nil })
}

// each gives the containers with their roles and what is said of them.
func (p *pod) each(do func(engine.Role, string, containerStatus)) {
	one := func(role engine.Role, name string, list []containerStatus) {
		i := slices.IndexFunc(list, func(s containerStatus) bool { return s.Name == name })
		if i < 0 {
			do(role, name, containerStatus{Name: name})
			return
		}
		do(role, name, list[i])
	}
	for _, c := range p.Spec.Init {
		role := engine.RoleInit
		if c.Name == sidecarName {
			role = engine.RoleSidecar
		}
		one(role, c.Name, p.Status.Init)
	}
	for _, c := range p.Spec.Main {
		one(engine.RoleMain, c.Name, p.Status.Main)
	}
}

// containers gives the status of all containers.
func (p *pod) containers() (out []engine.ContainerStatus) {
	p.each(func(role engine.Role, name string, s containerStatus) { out = append(out, statusOf(role, name, s)) })
	return out
}

func statusOf(role engine.Role, name string, s containerStatus) engine.ContainerStatus {
	out := engine.ContainerStatus{Name: name, Role: role, State: engine.ContainerWaiting, Ready: s.Ready, Restarts: s.Restarts}
	if t := s.last(); t != nil {
		out.LastExit = &engine.Exit{Code: t.Code, OOMKilled: t.Reason == "OOMKilled", At: t.Finished}
		out.Started = t.Started
		if t.Reason == "StartError" || t.Reason == "ContainerCannotRun" {
			out.Reason, out.Message = engine.ReasonCommand, t.Message
		}
	}
	switch {
	case s.State.Running != nil:
		out.State, out.Started = engine.ContainerRunning, s.State.Running.Started
		out.Reason, out.Message = "", ""
	case s.State.Terminated != nil:
		out.State = engine.ContainerTerminated
		if role != engine.RoleInit || s.State.Terminated.Code != 0 {
			out.State = engine.ContainerWaiting // it is started again
		}
	case s.State.Waiting != nil && out.Reason == "":
		out.Reason, out.Message = waiting(role, s.State.Waiting.Reason, s.State.Waiting.Message)
	}
	return out
}

// waiting says why a container does not start.
func waiting(role engine.Role, reason, message string) (engine.Reason, string) {
	switch reason {
	case "", "ContainerCreating", "PodInitializing":
		return "", ""
	case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull":
		return pulling(message), message
	case "RegistryUnavailable":
		return engine.ReasonImageNetwork, message
	case "InvalidImageName", "ImageInspectError", "SignatureValidationFailed":
		return engine.ReasonImageInvalid, message
	case "RunContainerError", "CreateContainerError":
		return engine.ReasonCommand, message
	case "CrashLoopBackOff":
		if role == engine.RoleInit {
			return engine.ReasonInitFailed, message
		}
		return engine.ReasonCrash, message
	}
	return engine.ReasonOther, strings.TrimSpace(reason + " " + message)
}

// pulling says why an image is not pulled, from the words of registries and runtimes.
func pulling(message string) engine.Reason {
	text := strings.ToLower(message)
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
	}
	switch {
	case has("not found", "manifest unknown", "name unknown", "does not exist", "never pull"):
		return engine.ReasonImageName
	case has("unauthorized", "denied", "forbidden", "authorization failed", "401", "403"):
		return engine.ReasonImageAuth
	case has("no matching manifest", "no match for platform", "exec format"):
		return engine.ReasonImageInvalid
	}
	return engine.ReasonImageNetwork
}

// replica gives the status of a pod.
func (p *pod) replica(s engine.Spec) engine.Replica {
	out := engine.Replica{Name: p.Metadata.Name, State: engine.ReplicaPending, Created: p.Metadata.Created,
		Current: p.Metadata.Labels[labelDigest] == digest(s), Containers: p.containers()}
	ready, begun := true, false
	for _, c := range out.Containers {
		switch {
		case c.Role == engine.RoleInit && (c.State == engine.ContainerRunning || c.LastExit != nil):
			out.State = engine.ReplicaInit
		case c.Role == engine.RoleMain:
			begun = begun || c.State == engine.ContainerRunning || c.LastExit != nil
			ready = ready && c.Ready
		}
		if out.Reason == "" && c.Reason != "" {
			out.Reason, out.Message = c.Reason, "container "+c.Name+": "+c.Message
		}
	}
	if begun {
		out.State = engine.ReplicaRunning
	}
	if out.Reason == "" {
		out.Reason, out.Message = p.stuck()
	}
	if p.Metadata.Deleted != nil || p.over() {
		out.State = engine.ReplicaTerminating
	}
	out.Ready = ready && begun && out.State == engine.ReplicaRunning
	if p.Status.IP != "" {
		out.Addresses = addresses(s, p.Status.IP)
	}
	return out
}

// stuck says why a pod as a whole does not get on.
func (p *pod) stuck() (engine.Reason, string) {
	for _, c := range p.Status.Conditions {
		if c.Type == "PodScheduled" && c.Status == "False" && c.Reason != "SchedulingGated" {
			return engine.ReasonOther, "no machine of the cluster takes the replica: " + c.Message
		}
	}
	if p.Status.Phase == "Failed" {
		return engine.ReasonOther, strings.TrimSpace(p.Status.Reason + " " + p.Status.Message)
	}
	return "", ""
}

// Observe implements engine.Engine. It tells what the watches last saw.
func (e *Engine) Observe(_ context.Context, ref engine.Ref) (engine.Status, error) {
	r, err := e.find(ref)
	if err != nil {
		return engine.Status{}, err
	}
	return r.status(), nil
}

func (r *revision) status() engine.Status {
	r.mu.Lock()
	spec, auto, fault := r.spec, r.auto, r.fault
	s := engine.Status{Ref: r.ref, Desired: spec.Replicas, Events: slices.Clone(r.events)}
	r.mu.Unlock()
	d := r.e.seen.deployment(r.base)
	if auto != nil && d != nil {
		s.Desired = d.Spec.Replicas
	}
	for _, p := range r.e.seen.podsOf(r.base) {
		if p.over() {
			continue // the cluster made another one in its place
		}
		one := p.replica(spec)
		s.Replicas = append(s.Replicas, one)
		if one.Current && one.Ready {
			s.Ready++
		}
		if one.Current && !one.Ready && one.Reason != "" && s.Reason == "" {
			s.Reason, s.Message = one.Reason, one.Message
		}
	}
	slices.SortStableFunc(s.Replicas, func(a, b engine.Replica) int { return a.Created.Compare(b.Created) })
	if fault != nil {
		s.Reason, s.Message = engine.ReasonOf(fault), fault.Error()
	}
	if s.Reason == "" && d != nil {
		for _, c := range d.Status.Conditions {
			if c.Type == "ReplicaFailure" && c.Status == "True" {
				s.Reason, s.Message = engine.ReasonOther, "the cluster makes no replicas ("+c.Reason+")"
			}
		}
	}
	return s
}

// happened makes events of the differences between two states of a pod.
func (r *revision) happened(was, now *pod, gone bool) {
	name := now.Metadata.Name
	if gone {
		r.event(name, "", engine.ReasonTerminated, "")
		r.e.changed(r.ref)
		return
	}
	old := map[string]containerStatus{}
	if was != nil {
		was.each(func(_ engine.Role, name string, s containerStatus) { old[name] = s })
	}
	now.each(func(role engine.Role, container string, s containerStatus) {
		before := old[container]
		if s.State.Running != nil && (before.State.Running == nil || s.Restarts != before.Restarts) {
			r.event(name, container, engine.ReasonStarted, "")
		}
		if t, had := s.last(), before.last(); t != nil && (had == nil || !had.Finished.Equal(t.Finished)) {
			r.event(name, container, engine.ReasonExited, exitText(t))
		}
		if s.Ready && !before.Ready && role == engine.RoleMain {
			r.event(name, container, engine.ReasonReady, "")
		}
		if !s.Ready && before.Ready && s.State.Running != nil && before.State.Running != nil && role == engine.RoleMain && now.Metadata.Deleted == nil {
			r.event(name, container, engine.ReasonUnhealthy, "a probe failed")
		}
		if c := statusOf(role, container, s); c.Reason != "" && statusOf(role, container, before).Reason != c.Reason {
			r.event(name, container, c.Reason, c.Message)
		}
	})
	r.e.changed(r.ref)
}
