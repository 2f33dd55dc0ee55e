package containers

import (
	"strings"
	"time"
)

// app is a container app as the management API shows it.
type app struct {
	ID, Name string
	Identity struct {
		Type      string
		Principal string `json:"principalId"`
		Users     map[string]struct {
			Principal string `json:"principalId"`
			Client    string `json:"clientId"`
		} `json:"userAssignedIdentities"`
	}
	Properties struct {
		EnvironmentID string
		Provisioning  string `json:"provisioningState"`
		Status        string `json:"runningStatus"`
		Latest        string `json:"latestRevisionName"`
		LatestReady   string `json:"latestReadyRevisionName"`
		Errors        string `json:"deploymentErrors"`
		Configuration configuration
		Template      blueprint
		Scaling       *scaling
	}
}

type configuration struct {
	Mode             string `json:"activeRevisionsMode"`
	Ingress          *ingress
	IdentitySettings []setting
	Registries       []struct{ Server, Username, Identity string }
	Secrets          []struct {
		Name        string
		KeyVaultURL string
		Identity    string
	}
}

// setting is the lifecycle of one identity.
type setting struct {
	Identity  string `json:"identity"`
	Lifecycle string `json:"lifecycle"`
}

type ingress struct {
	FQDN          string
	External      bool
	TargetPort    int
	Transport     string
	AllowInsecure bool
	Traffic       []share
}

// share is where a part of the requests goes.
type share struct {
	Revision string `json:"revisionName,omitempty"`
	Latest   bool   `json:"latestRevision,omitempty"`
	Weight   int    `json:"weight"` // percent
	Label    string `json:"label,omitempty"`
}

type blueprint struct {
	Containers     []container
	InitContainers []container
	Scale          *struct {
		Min   *int `json:"minReplicas"`
		Max   *int `json:"maxReplicas"`
		Rules []struct {
			Name                          string
			HTTP, TCP, AzureQueue, Custom *struct{ Identity string }
		}
	}
}

type container struct {
	Name, Image string
	Env         []struct{ Name, Value, SecretRef string }
}

// scaling is why a revision has as many replicas as it has.
type scaling struct {
	Desired int `json:"desiredReplicas"`
	Reason  string
	Error   string
	Rules   []struct {
		Name, Type, Unit, Error string
		Value, Target           float64
		Replicas                int
		Active                  bool
	}
}

func (a app) stopped() bool { return strings.EqualFold(a.Properties.Status, "Stopped") }

// url is the address that the app answers at, "" without an ingress.
func (a app) url() string {
	g := a.Properties.Configuration.Ingress
	if g == nil || g.FQDN == "" || strings.EqualFold(g.Transport, "tcp") {
		return ""
	}
	return "http://" + g.FQDN // functions and container apps are served without TLS; a front end has it
}

// state is how something is shown.
type state struct{ Text, Kind string }

func (a app) state() state {
	switch {
	case a.stopped():
		return state{"state.stopped", ""}
	case strings.EqualFold(a.Properties.Provisioning, "Failed"):
		return state{"state.error", "bad"}
	case strings.EqualFold(a.Properties.Provisioning, "InProgress"):
		return state{"state.starting", "warn"}
	}
	return state{"state.running", "good"}
}

// revision is a revision as the management API shows it.
type revision struct {
	Name       string
	Properties struct {
		Created      time.Time `json:"createdTime"`
		FQDN         string
		Active       bool
		Replicas     int
		Weight       int `json:"trafficWeight"`
		Labels       []string
		Health       string `json:"healthState"`
		Provisioning string `json:"provisioningState"`
		Running      string `json:"runningState"`
		Details      string `json:"runningStateDetails"`
		Error        string `json:"provisioningError"`
		Template     blueprint
		Scaling      *scaling
	}
}

// states are run states by name.
var states = map[string]state{
	"running": {"state.running", "good"}, "runningatmaxscale": {"state.running", "good"}, "scaledtozero": {"containers.state.zero", ""},
	"stopped": {"state.stopped", ""}, "processing": {"state.starting", "warn"}, "activating": {"state.starting", "warn"},
	"waiting": {"state.starting", "warn"}, "degraded": {"containers.state.degraded", "bad"}, "failed": {"state.error", "bad"},
	"notrunning": {"state.offline", ""}, "terminated": {"state.stopped", ""},
	"activationfailed": {"state.error", "bad"},
}

func stateOf(name string) state {
	if s, known := states[strings.ToLower(name)]; known {
		return s
	}
	return state{"state.unknown", ""}
}

// State is how the revision does.
func (r revision) State() state {
	switch {
	case r.Properties.Active && strings.EqualFold(r.Properties.Provisioning, "Failed"):
		return state{"state.error", "bad"}
	case r.Properties.Active && r.Properties.Replicas == 0 && strings.EqualFold(r.Properties.Running, "Running"):
		return states["scaledtozero"]
	}
	return stateOf(r.Properties.Running)
}

// Ready reports whether all of its replicas can serve.
func (r revision) Ready() bool { return strings.EqualFold(r.Properties.Health, "Healthy") }

// Why tells why it is not ready; "" if nothing is known.
func (r revision) Why() string {
	if r.Properties.Error != "" {
		return r.Properties.Error
	}
	return r.Properties.Details
}

// replica is a replica as the management API shows it.
type replica struct {
	Name       string
	Properties struct {
		Created time.Time `json:"createdTime"`
		Running string    `json:"runningState"`
		Details string    `json:"runningStateDetails"`
		Main    []running `json:"containers"`
		Init    []running `json:"initContainers"`
	}
}

// State is how the replica does.
func (r replica) State() state { return stateOf(r.Properties.Running) }

// running is a container of a replica.
type running struct {
	Name           string
	Ready, Started bool
	Restarts       int    `json:"restartCount"`
	Running        string `json:"runningState"`
	Details        string `json:"runningStateDetails"`
}

// State is how the container does.
func (c running) State() state { return stateOf(c.Running) }
