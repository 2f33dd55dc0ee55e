package runner

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// codeOperation is the platform's code of what went wrong otherwise.
const codeOperation = "ContainerAppOperationError"

// deadline is how long a revision may take to become ready; trial is how long what
// keeps it from that may last if it may pass by itself; patience is how many starts
// that fail it may take.
const (
	deadline = 10 * time.Minute
	trial    = time.Minute
	patience = 3
)

// placingFault is why a revision is not placed.
type placingFault struct {
	code string
	err  error
}

func (f *placingFault) Error() string { return f.err.Error() }

func (f *placingFault) Unwrap() error { return f.err }

// message tells what is wrong and what to do.
func (f *placingFault) message() string {
	text := f.err.Error()
	if next := problem.NextOf(f.err); next != "" {
		text = strings.TrimRight(text, ".") + ". Next: " + next
	}
	return text
}

// failing is the status of a revision that is not placed. One that was ready before
// stays provisioned.
func failing(had containerapp.Status, f *placingFault) containerapp.Status {
	s := containerapp.Status{Provisioning: containerapp.Failed, Running: containerapp.FailedRunning, Code: f.code, Reason: f.message()}
	if had.Provisioning == containerapp.Provisioned {
		s.Provisioning = containerapp.Provisioned
	}
	return s
}

// stopped is the status of a revision that is not to run.
func stopped(had containerapp.Status) containerapp.Status {
	had.Running, had.Healthy, had.Replicas = containerapp.IsStopped, false, 0
	return had
}

// statusOf makes a revision's status of what its engine observes. A revision is
// provisioned once as many replicas as it has at the least were ready, and stays so.
func statusOf(rev containerapp.Revision, asked map[string]bool, o engine.Status, took time.Duration, now time.Time) containerapp.Status {
	s := containerapp.Status{Provisioning: rev.Status.Provisioning, Running: containerapp.Processing, Replicas: replicas(o), Healthy: o.Ready > 0 && o.Ready >= o.Desired}
	if s.Provisioning == "" || s.Provisioning == containerapp.Failed && starts(o) < patience {
		s.Provisioning = containerapp.InProgress
	}
	if enough := o.Ready >= needed(rev, o); enough && settles(rev, asked, o, now) > 0 {
		return still(rev, s) // nobody knows yet whether it goes on running
	} else if enough {
		s.Provisioning = containerapp.Provisioned
	}
	if o.Ready >= o.Desired {
		if s.Running = containerapp.IsRunning; o.Desired == 0 {
			s.Running = containerapp.ScaledToZero
		}
		return s
	}
	reason, message := cause(o)
	if reason == "" && took >= deadline {
		reason, message = engine.ReasonUnhealthy, fmt.Sprintf("its replicas were not ready within %s", deadline)
	}
	switch {
	case o.Ready > 0 && reason != "":
		s.Running = containerapp.Degraded
	case o.Ready > 0:
		s.Running = containerapp.IsRunning
	case reason != "" && final(reason, o, took):
		s.Running = containerapp.FailedRunning
	case reason == "":
		return still(rev, s)
	}
	if s.Provisioning != containerapp.Provisioned && (s.Running == containerapp.FailedRunning || took >= deadline) {
		s.Provisioning = containerapp.Failed
	}
	if reason != "" {
		s.Reason = text(rev, reason, message)
	}
	if s.Running == containerapp.FailedRunning || s.Running == containerapp.Degraded {
		s.Code = codeOf(reason)
	}
	return s
}

// needed gives how many ready replicas provision a revision: more may be wanted by
// then because of what there is to do.
func needed(rev containerapp.Revision, o engine.Status) int {
	if t := rev.Template.Scale; t != nil {
		return min(o.Desired, least(*t))
	}
	return min(o.Desired, least(containerapp.Scale{}))
}

// still gives the status s, or that of a revision which failed and only is between
// two of its starts.
func still(rev containerapp.Revision, s containerapp.Status) containerapp.Status {
	if s.Provisioning != containerapp.Failed {
		return s
	}
	had := rev.Status
	had.Replicas, had.Healthy = s.Replicas, false
	return had
}

// steady is how long containers that nobody asks how they are must have run before a
// revision that was never ready is taken to be.
const steady = 2 * time.Second

// settles gives how much longer that takes.
func settles(rev containerapp.Revision, asked map[string]bool, o engine.Status, now time.Time) (left time.Duration) {
	if rev.Status.Provisioning == containerapp.Provisioned {
		return 0
	}
	for _, one := range o.Replicas {
		for _, c := range one.Containers {
			if one.Current && c.Role == engine.RoleMain && (!asked[c.Name] || c.Restarts > 0) {
				left = max(left, c.Started.Add(steady).Sub(now))
			}
		}
	}
	return left
}

// askedOf tells which containers of a revision are asked whether they are well.
func askedOf(a containerapp.App, rev containerapp.Revision) map[string]bool {
	asked := map[string]bool{}
	for i, c := range rev.Template.Containers {
		asked[c.Name] = i == 0 && targetOf(a, rev) > 0 ||
			slices.ContainsFunc(c.Probes, func(p containerapp.Probe) bool { return !strings.EqualFold(p.Type, string(engine.Liveness)) })
	}
	return asked
}

// replicas counts those that are not on their way out.
func replicas(o engine.Status) (n int) {
	for _, one := range o.Replicas {
		if one.State != engine.ReplicaTerminating {
			n++
		}
	}
	return n
}

// cause gives why replicas of the newest spec do not get on.
func cause(o engine.Status) (engine.Reason, string) {
	for _, one := range o.Replicas {
		if one.Current && !one.Ready && one.Reason != "" && one.State != engine.ReplicaTerminating {
			return one.Reason, one.Message
		}
	}
	return o.Reason, o.Message
}

// final tells whether a reason makes a revision fail now: one that may pass by itself
// only does when it lasts. The engine goes on trying either way.
func final(reason engine.Reason, o engine.Status, took time.Duration) bool {
	switch reason {
	case engine.ReasonImageName, engine.ReasonImageAuth, engine.ReasonImageNetwork, engine.ReasonImageInvalid, engine.ReasonPortTaken, engine.ReasonCommand:
		return true
	case engine.ReasonCrash, engine.ReasonInitFailed, engine.ReasonUnhealthy:
		return took >= deadline || starts(o) >= patience
	}
	return took >= trial
}

// starts gives how often a container of the newest spec was started again.
func starts(o engine.Status) (n int) {
	for _, one := range o.Replicas {
		for _, c := range one.Containers {
			if one.Current {
				n = max(n, c.Restarts)
			}
		}
	}
	return n
}

func codeOf(reason engine.Reason) string {
	if strings.HasPrefix(string(reason), "Image") || reason == engine.ReasonPortTaken {
		return containerapp.CodeTemplate
	}
	return codeOperation
}

// text says what is wrong, with its reason as a word that programs find.
func text(rev containerapp.Revision, reason engine.Reason, message string) string {
	if strings.HasPrefix(string(reason), "Image") {
		for in, list := range map[string][]containerapp.Container{"containers": rev.Template.Containers, "initContainers": rev.Template.InitContainers} {
			for _, c := range list {
				if c.Image != "" && strings.Contains(message, c.Image) {
					return fmt.Sprintf("Field 'template.%s.%s.image' is invalid with details: 'Invalid value: %q: %s: %s';", in, c.Name, c.Image, reason, message)
				}
			}
		}
	}
	return fmt.Sprintf("%s: %s", reason, message)
}
