package manage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/problem"
)

const groups = "/providers/Latchkey.Directory/groups"

// KindGroup is the Kind of a group among those who can have roles.
const KindGroup = "Group"

// Group is a set of principals and of other groups. Its JSON form is what commands
// print, a contract.
type Group struct {
	Name        string   `json:"name"`
	ObjectID    string   `json:"objectId"`
	Description string   `json:"description,omitempty"`
	MemberCount int      `json:"memberCount"`       // direct ones
	Members     []Member `json:"members,omitempty"` // where they were asked for
}

// Member is who is in a group.
type Member struct {
	Name     string `json:"name,omitempty"`
	ObjectID string `json:"objectId"`
	AppID    string `json:"appId,omitempty"` // "client id"
	Kind     string `json:"kind"`            // of a principal, [KindGroup], or "Unknown" for one that is gone
}

// Groups lists the groups there are; those that somebody is in, through others too,
// if an object id is given.
func (i *Installation) Groups(ctx context.Context, member string) ([]Group, error) {
	filter := ""
	if member != "" {
		filter = "member eq '" + quoted(member) + "'"
	}
	return armclient.List[Group](ctx, i.client, query(groups, "$filter", filter))
}

func quoted(text string) string { return strings.ReplaceAll(text, "'", "''") }

// Group finds a group by object id, or name if that is unique.
func (i *Installation) Group(ctx context.Context, which string) (Group, error) {
	var g Group
	err := i.get(ctx, groups+"/"+url.PathEscape(which), &g)
	if !errors.Is(err, problem.NotFound) {
		return g, err
	}
	named, err := i.groupsNamed(ctx, which)
	switch {
	case err != nil:
		return g, err
	case len(named) == 0:
		return g, problem.New(problem.NotFound, fmt.Sprintf("there is no group %.120q", which)).
			WithNext("latchkey group list shows those there are")
	case len(named) > 1:
		return g, problem.New(problem.Conflict, fmt.Sprintf("%d groups have the name %.120q", len(named), which)).
			WithNext("name it by its object id: latchkey group list")
	}
	return named[0], nil
}

func (i *Installation) groupsNamed(ctx context.Context, name string) ([]Group, error) {
	return armclient.List[Group](ctx, i.client, query(groups, "$filter", "name eq '"+quoted(name)+"'"))
}

// Holder finds who can have a role or be in a group: a principal by object id,
// client id or name, or a group by object id or name, given as a [Principal] of
// [KindGroup]. problem.Conflict if a principal and a group have the name.
func (i *Installation) Holder(ctx context.Context, who string) (Principal, error) {
	p, err := i.Principal(ctx, who)
	if err != nil && !errors.Is(err, problem.NotFound) || err == nil && !strings.EqualFold(p.Name, who) {
		return p, err // found by id, or not for us to know
	}
	g, other := i.Group(ctx, who)
	switch {
	case err == nil && other == nil:
		return p, problem.New(problem.Conflict, fmt.Sprintf("a principal and a group have the name %.120q", who)).
			WithNext("name it by its object id: latchkey principal list, latchkey group list")
	case errors.Is(other, problem.NotFound) || err == nil && errors.Is(other, problem.Denied):
		return p, err
	}
	return Principal{Name: g.Name, ObjectID: g.ObjectID, Kind: KindGroup}, other
}

// CreateGroup makes a group without members.
func (i *Installation) CreateGroup(ctx context.Context, name, description string) (Group, error) {
	var g Group
	err := i.post(ctx, groups, map[string]string{"name": name, "description": description}, &g)
	return g, err
}

// DeleteGroup deletes a group with its roles.
func (i *Installation) DeleteGroup(ctx context.Context, g Group) error {
	return i.client.Do(ctx, http.MethodDelete, groups+"/"+url.PathEscape(g.ObjectID), nil, nil)
}

// Members lists who is in a group itself.
func (i *Installation) Members(ctx context.Context, g Group) ([]Member, error) {
	return armclient.List[Member](ctx, i.client, groups+"/"+url.PathEscape(g.ObjectID)+"/members")
}

// AddMember puts somebody into a group; added is false for who was in it.
func (i *Installation) AddMember(ctx context.Context, g Group, who Principal) (added bool, err error) {
	answer, err := i.client.Exchange(ctx, armclient.Request{Method: http.MethodPut, Path: memberPath(g, who.ObjectID)}, nil, nil)
	return answer.Status == http.StatusCreated, err
}

// RemoveMember takes somebody out of a group.
func (i *Installation) RemoveMember(ctx context.Context, g Group, m Member) error {
	return i.client.Do(ctx, http.MethodDelete, memberPath(g, m.ObjectID), nil, nil)
}

func memberPath(g Group, objectID string) string {
	return groups + "/" + url.PathEscape(g.ObjectID) + "/members/" + url.PathEscape(objectID)
}

// MemberOf finds a member of a group by name, client id or object id.
func (g Group) MemberOf(who string) (Member, error) {
	var found []Member
	for _, m := range g.Members {
		if strings.EqualFold(m.ObjectID, who) || m.AppID != "" && strings.EqualFold(m.AppID, who) {
			return m, nil
		}
		if strings.EqualFold(m.Name, who) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return Member{}, problem.New(problem.NotFound, fmt.Sprintf("%.120q is not in group %s itself", who, g.Name)).
			WithNext("latchkey group show lists its members")
	case 1:
		return found[0], nil
	}
	return Member{}, problem.New(problem.Conflict, fmt.Sprintf("%d members have the name %.120q", len(found), who)).
		WithNext("use the object id: latchkey group show")
}
