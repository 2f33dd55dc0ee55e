package runner

import (
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
)

// observed is what an engine says of replicas: those that are ready, and those that
// are not, with a reason and so many restarts.
func observed(desired, ready, not int, reason engine.Reason, restarts int) engine.Status {
	long := time.Unix(0, 0)
	o := engine.Status{Desired: desired, Ready: ready}
	for range ready {
		o.Replicas = append(o.Replicas, engine.Replica{State: engine.ReplicaRunning, Current: true, Ready: true,
			Containers: []engine.ContainerStatus{{Name: "main", Role: engine.RoleMain, State: engine.ContainerRunning, Ready: true, Started: long}}})
	}
	for range not {
		o.Replicas = append(o.Replicas, engine.Replica{State: engine.ReplicaRunning, Current: true, Reason: reason, Message: "why",
			Containers: []engine.ContainerStatus{{Name: "main", Role: engine.RoleMain, Started: long, Restarts: restarts}}})
	}
	return o
}

func TestStatusOfARevision(t *testing.T) {
	now, two := time.Unix(1e6, 0), 2
	crashed := containerapp.Status{Provisioning: containerapp.Failed, Running: containerapp.FailedRunning, Reason: "CrashLoopBackOff: why", Code: codeOperation}
	for name, c := range map[string]struct {
		had          containerapp.Status
		least        *int
		o            engine.Status
		took         time.Duration
		provisioning containerapp.Provisioning
		running      containerapp.Running
		reason       string
	}{
		"the least are ready, more are wanted meanwhile": {
			containerapp.Status{Provisioning: containerapp.InProgress}, nil, observed(4, 1, 3, "", 0), time.Second,
			containerapp.Provisioned, containerapp.IsRunning, ""},
		"one of two, in time": {
			containerapp.Status{Provisioning: containerapp.InProgress}, &two, observed(2, 1, 1, engine.ReasonCrash, 1), time.Minute,
			containerapp.InProgress, containerapp.Degraded, "CrashLoopBackOff: why"},
		"one of two, for too long": {
			containerapp.Status{Provisioning: containerapp.InProgress}, &two, observed(2, 1, 1, engine.ReasonCrash, 9), deadline,
			containerapp.Failed, containerapp.Degraded, "CrashLoopBackOff: why"},
		"one of two, of one that was ready": {
			containerapp.Status{Provisioning: containerapp.Provisioned}, &two, observed(2, 1, 1, engine.ReasonCrash, 9), deadline,
			containerapp.Provisioned, containerapp.Degraded, "CrashLoopBackOff: why"},
		"between two starts of one that failed": {
			crashed, nil, observed(1, 0, 1, "", patience), time.Minute,
			containerapp.Failed, containerapp.FailedRunning, crashed.Reason},
		"started anew after it failed": {
			crashed, nil, observed(1, 0, 1, "", 0), time.Second,
			containerapp.InProgress, containerapp.Processing, ""},
		"ready after it failed": {
			crashed, nil, observed(1, 1, 0, "", 0), time.Minute,
			containerapp.Provisioned, containerapp.IsRunning, ""},
		"at zero": {
			containerapp.Status{Provisioning: containerapp.Provisioned}, nil, observed(0, 0, 0, "", 0), time.Minute,
			containerapp.Provisioned, containerapp.ScaledToZero, ""},
		"nothing is known after too long": {
			containerapp.Status{Provisioning: containerapp.InProgress}, nil, observed(1, 0, 1, "", 0), deadline,
			containerapp.Failed, containerapp.FailedRunning, "Unhealthy: its replicas were not ready within 10m0s"},
	} {
		rev := containerapp.Revision{Status: c.had, Template: containerapp.Template{Scale: &containerapp.Scale{MinReplicas: c.least}}}
		s := statusOf(rev, map[string]bool{"main": true}, c.o, c.took, now)
		if s.Provisioning != c.provisioning || s.Running != c.running || s.Reason != c.reason {
			t.Errorf("%s: %s, %s, %q", name, s.Provisioning, s.Running, s.Reason)
		}
		rev.Status = s
		if again := statusOf(rev, map[string]bool{"main": true}, c.o, c.took, now); again != s {
			t.Errorf("%s: seen again it is %+v after %+v", name, again, s)
		}
	}
}

func TestARevisionIsNotLookedAtForATimeThatHasPassed(t *testing.T) {
	since := time.Unix(1e6, 0)
	for took, want := range map[time.Duration]time.Time{
		0: since.Add(trial), trial: since.Add(deadline), deadline - 1: since.Add(deadline), deadline: {}, time.Hour: {},
	} {
		if got := nextLook(since, since.Add(took)); !got.Equal(want) {
			t.Errorf("after %s: %s", took, got)
		}
	}
}
