package directory

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/authorization/filter"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/identity/groups"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// Actions on groups.
const (
	groupType        = "Latchkey.Directory/groups"
	readGroups       = groupType + "/read"
	writeGroups      = groupType + "/write"
	deleteGroups     = groupType + "/delete"
	writeMembers     = groupType + "/members/write"
	deleteMembers    = groupType + "/members/delete"
	memberGoes       = "the member is deleted"
	maxPageOfGroups  = 200
	kindOfGroup      = "Group"
	kindOfTheMissing = "Unknown"
)

// groupOperations are our own operations on groups; none without groups.
func (s *Service) groupOperations() []arm.Operation {
	if s.cfg.Groups == nil {
		return nil
	}
	const (
		list    = "/providers/Latchkey.Directory/groups"
		one     = list + "/{group}"
		members = one + "/members"
		member  = members + "/{member}"
	)
	return []arm.Operation{
		{Method: "GET", Pattern: list, Handler: s.listGroups},
		{Method: "POST", Pattern: list, Action: writeGroups, Handler: s.createGroup},
		{Method: "GET", Pattern: one, Handler: s.getGroup},
		{Method: "PUT", Pattern: one, Handler: s.changeGroup},
		{Method: "DELETE", Pattern: one, Handler: s.deleteGroup},
		{Method: "GET", Pattern: members, Handler: s.listMembers},
		{Method: "PUT", Pattern: member, Handler: s.putMember},
		{Method: "DELETE", Pattern: member, Handler: s.deleteMember},
	}
}

// shownGroup is a group as clients see it. Its members have a list of their own.
type shownGroup struct {
	ID           string    `json:"id"`
	Type         string    `json:"type"`
	ObjectID     string    `json:"objectId"`
	Name         string    `json:"name"`
	Description  string    `json:"description,omitempty"`
	MailNickname string    `json:"mailNickname,omitempty"`
	Created      time.Time `json:"created"`
	MemberCount  int       `json:"memberCount"` // direct ones
}

func showGroup(g groups.Group) shownGroup {
	return shownGroup{
		ID: groupID(g.ObjectID), Type: groupType, ObjectID: g.ObjectID, Name: g.Name, Description: g.Description,
		MailNickname: g.MailNickname, Created: g.Created, MemberCount: len(g.Members),
	}
}

func groupID(objectID string) string {
	return resource.Root.Child("Latchkey.Directory", "groups", objectID).String()
}

func (s *Service) listGroups(c *arm.Call) (arm.Reply, error) {
	match, err := s.groupFilter(c.Context(), c.Query.Get("$filter"))
	if err != nil {
		return arm.Reply{}, err
	}
	after, err := c.SkipToken()
	if err != nil {
		return arm.Reply{}, err
	}
	most, err := c.Top(maxPageOfGroups)
	if err != nil {
		return arm.Reply{}, err
	}
	all, err := s.cfg.Groups.List(c.Context())
	if err != nil {
		return arm.Reply{}, err
	}
	list, next := []shownGroup{}, ""
	for i, g := range all {
		if after != "" && g.ObjectID <= after || !match(g) {
			continue
		}
		if list = append(list, showGroup(g)); len(list) == most && i+1 < len(all) {
			next = g.ObjectID
			break
		}
	}
	return arm.List(c, list, next), nil
}

// groupFilter reads a $filter on name, object id, mail nickname and member. The
// groups of a member are those it is in through others too.
func (s *Service) groupFilter(ctx context.Context, text string) (func(groups.Group) bool, error) {
	terms, err := filter.Parse(text)
	if err != nil {
		return nil, err
	}
	conditions := make([]func(groups.Group) bool, len(terms))
	for i, t := range terms {
		if conditions[i], err = s.groupCondition(ctx, t); err != nil {
			return nil, err
		}
	}
	return func(g groups.Group) bool {
		for _, is := range conditions {
			if !is(g) {
				return false
			}
		}
		return true
	}, nil
}

func (s *Service) groupCondition(ctx context.Context, t filter.Term) (func(groups.Group) bool, error) {
	switch t.Name + " " + t.Op {
	case "name eq", "displayname eq":
		return func(g groups.Group) bool { return strings.EqualFold(g.Name, t.Value) }, nil
	case "objectid eq", "id eq":
		return func(g groups.Group) bool { return strings.EqualFold(g.ObjectID, t.Value) }, nil
	case "mailnickname eq":
		return func(g groups.Group) bool { return strings.EqualFold(g.MailNickname, t.Value) }, nil
	case "mailenabled eq", "securityenabled eq": // every group is for security, none has mail
		want := strings.EqualFold(t.Value, "true") == (t.Name == "securityenabled")
		return func(groups.Group) bool { return want }, nil
	case "member eq":
		of, err := s.cfg.Groups.Of(ctx, t.Value)
		in := make(map[string]bool, len(of))
		for _, id := range of {
			in[id] = true
		}
		return func(g groups.Group) bool { return in[g.ObjectID] }, err
	}
	return nil, problem.New(problem.Invalid, fmt.Sprintf("$filter: %q is not supported; use eq with name, displayName, objectId, id, mailNickname or member", t.Name+" "+t.Op))
}

func (s *Service) getGroup(c *arm.Call) (arm.Reply, error) {
	g, err := s.cfg.Groups.Get(c.Context(), c.Params["group"])
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(showGroup(g)), nil
}

// groupText is what clients say about a group.
type groupText struct {
	Name         string `json:"name"`
	Description  string `json:"description"`
	MailNickname string `json:"mailNickname"`
}

func (t groupText) apply(g *groups.Group) error {
	g.Name, g.Description, g.MailNickname = t.Name, t.Description, t.MailNickname
	return nil
}

// createGroup makes a group with an object id of the server's choice: at one that a
// client chooses, roles of somebody who is gone could wait for it.
func (s *Service) createGroup(c *arm.Call) (arm.Reply, error) {
	var body groupText
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	var g groups.Group
	_ = body.apply(&g)
	g, err := s.cfg.Groups.Create(c.Context(), g)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.Created(showGroup(g)), nil
}

func (s *Service) changeGroup(c *arm.Call) (arm.Reply, error) {
	var body groupText
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	g, err := s.cfg.Groups.Update(c.Context(), c.Params["group"], body.apply)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(showGroup(g)), nil
}

func (s *Service) deleteGroup(c *arm.Call) (arm.Reply, error) {
	err := s.dropGroup(c)
	if errors.Is(err, problem.NotFound) {
		return arm.NoContent(), nil
	}
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.Status(http.StatusOK), nil
}

// dropGroup deletes a group and, before it, what roles it has, each with an event
// of its own. The group need not be readable.
func (s *Service) dropGroup(c *arm.Call) error {
	id := strings.ToLower(c.Params["group"])
	if _, err := s.cfg.Groups.Get(c.Context(), id); err != nil && !errors.Is(err, problem.Undecryptable) {
		return err
	}
	if err := s.unassign(c, id); err != nil {
		return err
	}
	if err := s.leaveGroups(c, id); err != nil {
		return err
	}
	return s.cfg.Groups.Delete(c.Context(), id)
}

// leaveGroups takes who goes away out of all groups, each with an event of its own.
func (s *Service) leaveGroups(c *arm.Call, objectID string) error {
	if s.cfg.Groups == nil {
		return nil
	}
	left, err := s.cfg.Groups.RemoveEverywhere(c.Context(), objectID)
	for _, group := range left {
		err = errors.Join(err, s.logMember(c, deleteMembers, group, objectID, memberGoes))
	}
	return err
}

// logMember records whom a call put into a group or took out of it, where the path
// of the call does not say so.
func (s *Service) logMember(c *arm.Call, action, group, member, reason string) error {
	return s.cfg.Audit.Append(c.Context(), audit.Event{
		Category: audit.Write, Action: action, Scope: groupID(group), Source: c.HTTP.RemoteAddr,
		Principal: audit.Principal{ObjectID: c.Caller.ObjectID, AppID: c.Caller.AppID, Name: c.Caller.Name},
		Outcome:   "Succeeded", Status: http.StatusOK, Reason: reason, CorrelationID: c.CorrelationID,
		Details: map[string]string{"memberId": member},
	})
}

// shownMember is a member as clients see it.
type shownMember struct {
	ObjectID string `json:"objectId"`
	AppID    string `json:"appId,omitempty"`
	Name     string `json:"name,omitempty"`
	Kind     string `json:"kind"` // of a principal, or "Group"; "Unknown" for one that is gone
}

// member finds a member: a principal by object id or app id, or a group.
func (s *Service) member(ctx context.Context, id string) (shownMember, error) {
	p, err := s.lookup(ctx, id)
	if err == nil {
		return shownMember{p.ObjectID, p.AppID, p.Name, string(p.Kind)}, nil
	}
	if !errors.Is(err, problem.NotFound) {
		return shownMember{}, err
	}
	g, err := s.cfg.Groups.Get(ctx, id)
	if errors.Is(err, problem.NotFound) {
		return shownMember{ObjectID: strings.ToLower(id), Kind: kindOfTheMissing},
			problem.New(problem.NotFound, fmt.Sprintf("there is no principal or group %q", clip(id)))
	}
	return shownMember{ObjectID: g.ObjectID, Name: g.Name, Kind: kindOfGroup}, err
}

func (s *Service) listMembers(c *arm.Call) (arm.Reply, error) {
	g, err := s.cfg.Groups.Get(c.Context(), c.Params["group"])
	if err != nil {
		return arm.Reply{}, err
	}
	list := make([]shownMember, len(g.Members))
	for i, id := range g.Members {
		if list[i], err = s.member(c.Context(), id); err != nil && !errors.Is(err, problem.NotFound) {
			return arm.Reply{}, err
		}
	}
	return arm.List(c, list, ""), nil
}

// putMember puts a principal or group into a group; one that is in it stays.
func (s *Service) putMember(c *arm.Call) (arm.Reply, error) {
	m, err := s.member(c.Context(), c.Params["member"])
	if err != nil {
		return arm.Reply{}, err
	}
	_, err = s.cfg.Groups.AddMember(c.Context(), c.Params["group"], m.ObjectID)
	if errors.Is(err, problem.Exists) {
		return arm.OK(m), nil
	}
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.Created(m), nil
}

// deleteMember takes somebody out of a group, also somebody who is gone.
func (s *Service) deleteMember(c *arm.Call) (arm.Reply, error) {
	m, err := s.member(c.Context(), c.Params["member"])
	if err != nil && !errors.Is(err, problem.NotFound) {
		return arm.Reply{}, err
	}
	_, err = s.cfg.Groups.RemoveMember(c.Context(), c.Params["group"], m.ObjectID)
	if errors.Is(err, problem.NotFound) {
		return arm.NoContent(), nil
	}
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(m), nil
}
