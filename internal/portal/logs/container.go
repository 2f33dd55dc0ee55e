package logs

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/containers"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/problem"
)

// system is the place of what happened to an app, as opposed to what its containers
// wrote.
const system = "system"

// ReadsContainers is the action that reading what containers write takes.
const ReadsContainers = "Microsoft.App/containerApps/getAuthtoken/action"

// app is a container app as the management API shows it.
type app struct {
	Name       string
	Properties struct {
		Latest string `json:"latestReadyRevisionName"`
		Events string `json:"eventStreamEndpoint"`
	}
}

type revision struct {
	Name       string
	Properties struct {
		Active  bool
		Created time.Time `json:"createdTime"`
	}
}

type replica struct {
	Name       string
	Properties struct {
		Main []container `json:"containers"`
		Init []container `json:"initContainers"`
	}
}

type container struct {
	Name string
	Logs string `json:"logStreamEndpoint"`
}

// spot is a container of a replica of a revision whose lines can be read.
type spot struct {
	Revision, Replica, Container string
	stream                       string
}

// Value names the place in forms and addresses.
func (s spot) Value() string { return s.Revision + "|" + s.Replica + "|" + s.Container }

// containerLog is what the page about a container app's log shows.
type containerLog struct {
	containers.Frame
	Wish   wish
	Spots  []spot
	Lines  []Line
	Follow string
	Here   string
	System bool // what happened is shown
	May    bool
	Gone   bool // what was asked for does not run any more
	Self   string
}

// bounds of what can be chosen.
const (
	mostRevisions = 20
	mostSpots     = 300
)

// spots finds what can be read: containers of replicas of active revisions, the one that
// serves first.
func spots(v *page.Visit, f containers.Frame, a app) (list []spot, err error) {
	all, _, err := client.List[revision](v.Context(), v.API(), f.Path("revisions"), 1000)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(r revision) bool { return !r.Properties.Active })
	slices.SortStableFunc(all, func(x, y revision) int {
		if one, other := x.Name == a.Properties.Latest, y.Name == a.Properties.Latest; one != other {
			if one {
				return -1
			}
			return 1
		}
		return y.Properties.Created.Compare(x.Properties.Created)
	})
	for _, r := range all[:min(len(all), mostRevisions)] {
		replicas, _, err := client.List[replica](v.Context(), v.API(), f.Path("revisions", r.Name, "replicas"), 100)
		if err != nil {
			return nil, err
		}
		for _, p := range replicas {
			for _, c := range append(p.Properties.Main, p.Properties.Init...) {
				if len(list) < mostSpots && c.Logs != "" {
					list = append(list, spot{r.Name, p.Name, c.Name, c.Logs})
				}
			}
		}
	}
	return list, nil
}

// choose gives the stream of what is wanted: problem.NotFound if it does not run.
func choose(v *page.Visit, f containers.Frame, w *wish) (address string, list []spot, err error) {
	var a app
	if err := v.API().Get(v.Context(), f.Path(), &a); err != nil {
		return "", nil, err
	}
	if list, err = spots(v, f, a); err != nil {
		return "", nil, err
	}
	if w.Place == "" && len(list) > 0 {
		w.Place = list[0].Value()
	}
	if w.Place == "" || w.Place == system {
		w.Place = system
		return a.Properties.Events, list, nil
	}
	for _, s := range list {
		if s.Value() == w.Place {
			return s.stream, list, nil
		}
	}
	return "", list, errGone
}

var errGone = problem.New(problem.NotFound, "the container does not run any more")

func (p *Pages) showContainer(v *page.Visit) error {
	f, w := containers.FrameOf(v), wishOf(v)
	address, list, err := choose(v, f, &w)
	if err != nil && !errors.Is(err, errGone) {
		return err
	}
	data := containerLog{
		Frame: f, Wish: w, Spots: list, May: true, Gone: err != nil, System: w.Place == system,
		Self: f.URL("logs"), Here: f.URL("logs") + w.query(),
	}
	if !data.Gone {
		if data.Lines, err = p.lastLines(v, f, address, w); errors.Is(err, errGone) {
			data.Gone = true
		} else if errors.Is(err, problem.Denied) {
			v.Lacks(ReadsContainers)
			data.May = false
		} else if err != nil {
			return err
		}
	}
	if data.May && !data.Gone {
		data.Follow = f.URL("logs", "follow") + w.query()
	}
	c := f.Content(v, "tab.logs", v.Text.Plain("log.title", "app", f.Name), data)
	c.Live, c.Scope, c.Script = false, f.Path(), "logs.js"
	return v.Show(p.container, c)
}

// followContainer tells a browser what a container writes.
func (p *Pages) followContainer(v *page.Visit) error {
	f, w := containers.FrameOf(v), wishOf(v)
	address, _, err := choose(v, f, &w)
	if err != nil {
		return p.follow(v, func(context.Context) (told, error) { return told{}, err })
	}
	ctx, cancel := context.WithCancel(v.Context())
	defer cancel()
	body, err := p.open(ctx, v, f, address, true)
	if err != nil {
		return p.follow(v, func(context.Context) (told, error) { return told{}, err })
	}
	defer body.Close()
	t := newTail(w, reader(v, w))
	var read = make(chan struct{})
	go func() {
		defer close(read)
		t.read(body)
	}()
	err = p.follow(v, t.next)
	cancel()
	_ = body.Close() // what reads it ends
	<-read
	return err
}
