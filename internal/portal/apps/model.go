package apps

import (
	"strings"
	"time"
)

// site is an app as the management API shows it.
type site struct {
	ID         string
	Name       string
	Kind       string
	Location   string
	Properties struct {
		State     string
		Host      string `json:"defaultHostName"`
		HTTPSOnly bool
		Group     string `json:"resourceGroup"`
		Changed   string `json:"lastModifiedTimeUtc"`
		Latchkey  struct {
			Instances []instance
			Release   string
		}
	}
	Identity *struct{ Type string }
}

// instance is a running copy of an app.
type instance struct {
	Node   string
	State  string
	Errors []string
	Since  time.Time
}

// function is a function as the management API shows it.
type function struct {
	Properties struct {
		Name   string
		URL    *string `json:"invoke_url_template"`
		Off    bool    `json:"isDisabled"`
		Lang   string  `json:"language"`
		Config struct {
			Bindings []binding
		}
	}
}

type binding struct {
	Type, Direction, Name, AuthLevel, Route string
	Methods                                 []string
}

// trigger gives what starts a function.
func (f function) trigger() binding {
	for _, b := range f.Properties.Config.Bindings {
		if strings.HasSuffix(strings.ToLower(b.Type), "trigger") {
			return b
		}
	}
	return binding{}
}

// State of an app in the portal's words, and how to show it.
type state struct {
	Text string // key of a text
	Kind string // "good", "bad", "warn" or ""
}

var states = map[string]state{
	"running":      {"state.running", "good"},
	"idle":         {"state.idle", "good"},
	"initializing": {"state.starting", ""},
	"starting":     {"state.starting", ""},
	"initialized":  {"state.starting", ""},
	"default":      {"state.starting", ""},
	"waiting":      {"state.starting", ""},
	"error":        {"state.error", "bad"},
	"offline":      {"state.offline", "warn"},
	"stopping":     {"state.stopping", ""},
	"stopped":      {"state.stopped", "warn"},
}

func stateOf(text string) state {
	if s, known := states[strings.ToLower(text)]; known {
		return s
	}
	return state{"state.unknown", ""}
}

// state gives the one word for an app: what is wanted, unless that is to run, then
// the worst of what its copies do.
func (s site) state() state {
	if !strings.EqualFold(s.Properties.State, "Running") {
		return stateOf(s.Properties.State)
	}
	if s.Properties.Latchkey.Release == "" {
		return state{"state.empty", "warn"}
	}
	worst := stateOf("idle")
	for _, i := range s.Properties.Latchkey.Instances {
		switch one := stateOf(i.State); {
		case one.Kind == "bad":
			return one
		case worst.Kind == "good" && one.Kind != "good" || worst.Text == "state.idle":
			worst = one
		}
	}
	return worst
}

// url is where the app is called.
func (s site) url() string {
	scheme := "http://"
	if s.Properties.HTTPSOnly {
		scheme = "https://"
	}
	return scheme + s.Properties.Host
}
