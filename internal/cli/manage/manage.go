// Package manage owns what the commands about an installation do through the
// management API: finding apps by name, deploying and following a deployment,
// changing single settings, keys, roles, principals and the audit record. It does
// not know commands, flags or how results are shown, and has no rules of its own
// about what the API accepts.
package manage

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/problem"
)

// Installation is an installation as one client sees it. It is not safe for
// concurrent use.
type Installation struct {
	client *armclient.Client
	sub    string // id of the subscription, once it is known
}

// Open signs in. It returns what [armclient.New] and [armclient.Client.SignIn] do.
func Open(ctx context.Context, c armclient.Credential) (*Installation, error) {
	client, err := armclient.New(c)
	if err != nil {
		return nil, err
	}
	return &Installation{client, c.SubscriptionID}, client.SignIn(ctx)
}

// Client gives the client of the management API.
func (i *Installation) Client() *armclient.Client { return i.client }

// Subscription gives the id of the one subscription there is.
func (i *Installation) Subscription(ctx context.Context) (string, error) {
	if i.sub != "" {
		return i.sub, nil
	}
	list, err := armclient.List[struct {
		ID string `json:"subscriptionId"`
	}](ctx, i.client, "/subscriptions")
	if err != nil {
		return "", err
	}
	if len(list) == 0 || list[0].ID == "" {
		return "", problem.New(problem.Denied, "this principal sees no subscription").WithNext("ask an owner for a role: latchkey role assign")
	}
	i.sub = list[0].ID
	return i.sub, nil
}

func (i *Installation) subscriptionPath(ctx context.Context) (string, error) {
	sub, err := i.Subscription(ctx)
	return "/subscriptions/" + url.PathEscape(sub), err
}

// idPath makes a resource id the path of a call.
func idPath(id string) string {
	segments := strings.Split(id, "/")
	for n := range segments {
		segments[n] = url.PathEscape(segments[n])
	}
	return strings.Join(segments, "/")
}

func (i *Installation) get(ctx context.Context, path string, out any) error {
	return i.client.Do(ctx, http.MethodGet, path, nil, out)
}

func (i *Installation) post(ctx context.Context, path string, in, out any) error {
	return i.client.Do(ctx, http.MethodPost, path, in, out)
}

// query appends parameters to a path; those without a value are left out.
func query(path string, pairs ...string) string {
	q := url.Values{}
	for n := 0; n+1 < len(pairs); n += 2 {
		if pairs[n+1] != "" {
			q.Set(pairs[n], pairs[n+1])
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
