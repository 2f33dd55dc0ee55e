package containerapps

import (
	"strings"

	"github.com/latchkey/latchkey/internal/containerapp"
)

// Scaling is why a revision has as many replicas as it has. The platform does not
// tell.
type Scaling struct {
	Desired int           `json:"desiredReplicas"`
	Reason  string        `json:"reason,omitempty"`
	Error   string        `json:"error,omitempty"` // why the engine does not follow
	Rules   []ScalingRule `json:"rules"`
}

// ScalingRule is what one rule says.
type ScalingRule struct {
	Name     string  `json:"name"`
	Type     string  `json:"type"`
	Value    float64 `json:"value"`
	Target   float64 `json:"target"`
	Unit     string  `json:"unit,omitempty"` // of both
	Replicas int     `json:"replicas"`       // that it asks for
	Active   bool    `json:"active"`
	Error    string  `json:"error,omitempty"` // why it cannot be read, or is not followed
}

// wrong tells what is wrong with the rules, in one text.
func (s Scaling) wrong() string {
	var all []string
	for _, r := range s.Rules {
		if r.Error != "" {
			all = append(all, "Scale rule '"+r.Name+"': "+r.Error)
		}
	}
	if s.Error != "" {
		all = append(all, s.Error)
	}
	return strings.Join(all, "; ")
}

// scaling asks why a revision that runs has as many replicas as it has.
func (api *API) scaling(a containerapp.App, r containerapp.Revision) (Scaling, bool) {
	if api.cfg.Scaling == nil || a.Stopped || !r.Active {
		return Scaling{}, false
	}
	return api.cfg.Scaling(a, r)
}

// showScaling adds what there is to say about a revision's replicas.
func (api *API) showScaling(p map[string]any, a containerapp.App, r containerapp.Revision) {
	s, ok := api.scaling(a, r)
	if !ok {
		return
	}
	p["scaling"] = s
	if why := s.wrong(); why != "" && r.Status.Reason == "" {
		p["runningStateDetails"] = why
	}
}
