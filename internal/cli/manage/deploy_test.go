package manage

import (
	"testing"
	"time"
)

func TestADeploymentHasSettledWhenNodesServeItOrDoNotTry(t *testing.T) {
	in := func(state, release string) Instance { return Instance{State: state, Release: release} }
	for name, tt := range map[string]struct {
		app  App
		want bool
	}{
		"no node":                      {App{Release: "2"}, true},
		"serves it":                    {App{Release: "2", Instances: []Instance{in("Running", "2")}}, true},
		"does not say what it serves":  {App{Release: "2", Instances: []Instance{in("Running", "")}}, true},
		"serves the one before":        {App{Release: "2", Instances: []Instance{in("Running", "1")}}, false},
		"one of two":                   {App{Release: "2", Instances: []Instance{in("Running", "2"), in("Running", "1")}}, false},
		"starts":                       {App{Release: "2", Instances: []Instance{in("Initialized", "")}}, false},
		"has not heard of it":          {App{Release: "2", Instances: []Instance{in("Empty", "")}}, false},
		"waits to be asked":            {App{Release: "2", Instances: []Instance{in("Idle", "")}}, true},
		"stopped":                      {App{Release: "2", Instances: []Instance{in("Stopped", "")}}, true},
		"does not come to run":         {App{Release: "2", Instances: []Instance{in("Error", "")}}, true},
		"does not come to run itself":  {App{Release: "2", Instances: []Instance{in("Error", "2")}}, true},
		"the one before does not run":  {App{Release: "2", Instances: []Instance{in("Error", "1")}}, false},
		"somebody else deployed after": {App{Release: "3", Instances: []Instance{in("Running", "1")}}, true},
	} {
		if got := tt.app.settled("2", time.Second); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	if failing := (App{Release: "2", Instances: []Instance{in("Error", "1")}}); !failing.settled("2", takingOver) {
		t.Error("an app whose new release does not take over is waited for longer than it is said")
	}
}

func TestPathsOfIDsAndQueriesAreEscaped(t *testing.T) {
	for id, want := range map[string]string{"/": "/", "/a/b c": "/a/b%20c", "/a/ü?#": "/a/%C3%BC%3F%23"} {
		if got := idPath(id); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
	if got := query("/x", "a", "1 &2", "b", ""); got != "/x?a=1+%262" {
		t.Errorf("query %q", got)
	}
}
