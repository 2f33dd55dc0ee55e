package apps

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

// soon is how long before its end a key is said to end.
const soon = 14 * 24 * time.Hour

// concern is something about an app that somebody should look at.
type concern struct {
	Text string // key of a text, with app, name and when
	App  string
	Name string
	At   time.Time
	URL  string
}

// concernsOf finds what needs a look in an app: references that do not resolve, and
// host keys that end soon.
func concernsOf(ctx context.Context, api *client.Client, a place.App, now time.Time) ([]concern, error) {
	refs, err := references(ctx, api, a)
	if err != nil {
		return nil, err
	}
	ending, err := endingKeys(ctx, api, a, now)
	return append(refs, ending...), err
}

// unseen reports whether something is not there or not for this viewer, which is no
// reason to show nothing at all.
func unseen(err error) bool {
	return errors.Is(err, problem.Denied) || errors.Is(err, problem.NotFound) || errors.Is(err, problem.Conflict)
}

func references(ctx context.Context, api *client.Client, a place.App) ([]concern, error) {
	type reference struct {
		Name       string
		Properties struct {
			Status string
			Stale  bool
		}
	}
	list, _, err := client.List[reference](ctx, api, a.Path("config", "configreferences", "appsettings"), 1000)
	if unseen(err) {
		return nil, nil
	}
	var found []concern
	for _, r := range list {
		c := concern{App: a.Name, Name: r.Name, URL: a.URL("configuration")}
		switch {
		case r.Properties.Stale:
			c.Text = "concern.stale"
		case strings.EqualFold(r.Properties.Status, "Resolved"), strings.EqualFold(r.Properties.Status, "Initialized"):
			continue
		default:
			c.Text = "concern.reference"
		}
		found = append(found, c)
	}
	return found, err
}

func endingKeys(ctx context.Context, api *client.Client, a place.App, now time.Time) ([]concern, error) {
	type key struct {
		Name       string
		Properties struct {
			State   string
			Expires time.Time
		}
	}
	list, _, err := client.List[key](ctx, api, a.Path("host", "default", "keyMetadata"), 1000)
	if unseen(err) {
		return nil, nil
	}
	var found []concern
	for _, k := range list {
		p := k.Properties
		if p.State != "active" || p.Expires.IsZero() || p.Expires.Sub(now) > soon {
			continue
		}
		found = append(found, concern{Text: "concern.expires", App: a.Name, Name: k.Name, At: p.Expires, URL: a.URL("keys")})
	}
	return found, err
}
