package directory

import (
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/identity/groups"
	"github.com/latchkey/latchkey/internal/problem"
)

// graphGroupOperations are the calls about groups of Azure CLI and Terraform, for
// the same actions as our own; none without groups.
func (s *Service) graphGroupOperations() []arm.Operation {
	if s.cfg.Groups == nil {
		return nil
	}
	const (
		list   = "/v1.0/groups"
		one    = list + "/{group}"
		member = one + "/members/{member}/$ref"
	)
	ops := []arm.Operation{
		{Method: "GET", Pattern: list, Action: readGroups, Handler: s.graphGroups},
		{Method: "POST", Pattern: list, Action: writeGroups, Handler: s.graphCreateGroup},
		{Method: "GET", Pattern: one, Action: readGroups, Handler: s.graphGroup},
		{Method: "PATCH", Pattern: one, Action: writeGroups, Handler: s.graphPatchGroup},
		{Method: "DELETE", Pattern: one, Action: deleteGroups, Handler: s.graphDeleteGroup},
		{Method: "GET", Pattern: one + "/members", Action: readGroups, Handler: s.graphMembers},
		{Method: "GET", Pattern: one + "/owners", Action: readGroups, Handler: s.graphOwners},
		{Method: "POST", Pattern: one + "/members/$ref", Action: writeMembers, Handler: s.graphAddMember},
		{Method: "GET", Pattern: member, Action: readGroups, Handler: s.graphHasMember},
		{Method: "DELETE", Pattern: member, Action: deleteMembers, Handler: s.graphRemoveMember},
	}
	for _, kind := range []string{"servicePrincipals", "users", "groups", "directoryObjects"} {
		of := "/v1.0/" + kind + "/{object}"
		ops = append(ops,
			arm.Operation{Method: "POST", Pattern: of + "/getMemberGroups", Action: readGroups, Handler: s.graphMemberGroups, Reads: true},
			arm.Operation{Method: "POST", Pattern: of + "/checkMemberGroups", Action: readGroups, Handler: s.graphCheckGroups, Reads: true},
		)
		if kind != "directoryObjects" {
			ops = append(ops,
				arm.Operation{Method: "GET", Pattern: of + "/memberOf", Action: readGroups, Handler: s.graphMemberOf},
				arm.Operation{Method: "GET", Pattern: of + "/transitiveMemberOf", Action: readGroups, Handler: s.graphAllMemberOf},
			)
		}
	}
	return ops
}

// graphProblem gives errors the codes of the directory.
func graphProblem(err error) error {
	var p *problem.Error
	if !errors.As(err, &p) {
		return err
	}
	switch p.Kind {
	case problem.NotFound:
		return arm.Faultf(http.StatusNotFound, "Request_ResourceNotFound", "The resource does not exist: %s.", p.Message)
	case problem.Invalid:
		return arm.Faultf(http.StatusBadRequest, "Request_BadRequest", "The request is not supported: %s.", p.Message)
	case problem.Exists:
		return arm.Faultf(http.StatusBadRequest, "Request_BadRequest",
			"One or more added object references already exist for the following modified properties: 'members'.")
	}
	return err
}

func badRequest(format string, args ...any) error {
	return arm.Faultf(http.StatusBadRequest, "Request_BadRequest", format, args...)
}

func showGraphGroup(g groups.Group) map[string]any {
	return map[string]any{
		"@odata.type": "#microsoft.graph.group", "id": g.ObjectID, "displayName": g.Name, "description": orNull(g.Description),
		"mailNickname": orNull(g.MailNickname), "mailEnabled": false, "mail": nil, "securityEnabled": true, "groupTypes": []string{},
		"createdDateTime": g.Created.UTC().Format("2006-01-02T15:04:05Z"), "visibility": nil, "onPremisesSyncEnabled": nil,
	}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// beginsWith is the one condition of clients that is no comparison.
var beginsWith = regexp.MustCompile(`(?i)^\s*startswith\(\s*displayName\s*,\s*'((?:[^']|'')*)'\s*\)\s*$`)

func (s *Service) graphGroups(c *arm.Call) (arm.Reply, error) {
	match, err := s.graphGroupFilter(c)
	if err != nil {
		return arm.Reply{}, err
	}
	all, err := s.cfg.Groups.List(c.Context())
	if err != nil {
		return arm.Reply{}, err
	}
	list := []map[string]any{}
	for _, g := range all {
		if match(g) {
			list = append(list, showGraphGroup(g))
		}
	}
	return graphAnswer("groups", list), nil
}

func (s *Service) graphGroupFilter(c *arm.Call) (func(groups.Group) bool, error) {
	text := c.Query.Get("$filter")
	if found := beginsWith.FindStringSubmatch(text); found != nil {
		prefix := strings.ToLower(strings.ReplaceAll(found[1], "''", "'"))
		return func(g groups.Group) bool { return strings.HasPrefix(strings.ToLower(g.Name), prefix) }, nil
	}
	match, err := s.groupFilter(c.Context(), text)
	return match, graphFault(err)
}

// groupBody is what clients send of a group. Owners are taken and mean nothing: a
// group is managed by whoever has the right to manage groups.
type groupBody struct {
	DisplayName     *string  `json:"displayName"`
	Description     *string  `json:"description"`
	MailNickname    *string  `json:"mailNickname"`
	MailEnabled     *bool    `json:"mailEnabled"`
	SecurityEnabled *bool    `json:"securityEnabled"`
	GroupTypes      []string `json:"groupTypes"`
	Rule            *string  `json:"membershipRule"`
	RoleAssignable  *bool    `json:"isAssignableToRole"`
	Members         []string `json:"members@odata.bind"`
}

// check refuses the kinds of groups that there are not here.
func (b groupBody) check() error {
	switch {
	case b.MailEnabled != nil && *b.MailEnabled:
		return badRequest("mailEnabled: groups with mail are not supported.")
	case b.SecurityEnabled != nil && !*b.SecurityEnabled:
		return badRequest("securityEnabled: groups that are not for security are not supported.")
	case len(b.GroupTypes) > 0:
		return badRequest("groupTypes: unified and dynamic groups are not supported.")
	case b.Rule != nil && *b.Rule != "":
		return badRequest("membershipRule: dynamic membership is not supported.")
	case b.RoleAssignable != nil && *b.RoleAssignable:
		return badRequest("isAssignableToRole: roles of the directory are not supported.")
	}
	return nil
}

func (b groupBody) complete() error {
	for name, missing := range map[string]bool{
		"displayName": b.DisplayName == nil, "mailEnabled": b.MailEnabled == nil, "mailNickname": b.MailNickname == nil, "securityEnabled": b.SecurityEnabled == nil,
	} {
		if missing {
			return badRequest("A value is required for property '%s' of resource 'Group'.", name)
		}
	}
	return b.check()
}

func (b groupBody) apply(g *groups.Group) {
	for to, from := range map[*string]*string{&g.Name: b.DisplayName, &g.Description: b.Description, &g.MailNickname: b.MailNickname} {
		if from != nil {
			*to = *from
		}
	}
}

func (s *Service) graphCreateGroup(c *arm.Call) (arm.Reply, error) {
	var body groupBody
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	if err := body.complete(); err != nil {
		return arm.Reply{}, err
	}
	var want groups.Group
	body.apply(&want)
	for _, ref := range body.Members {
		id, ok := referenced(ref)
		if !ok {
			return arm.Reply{}, badReference("members@odata.bind")
		}
		want.Members = append(want.Members, id)
	}
	g, err := s.cfg.Groups.Create(c.Context(), want)
	if err != nil {
		return arm.Reply{}, graphProblem(err)
	}
	for _, id := range g.Members {
		if err := s.logMember(c, writeMembers, g.ObjectID, id, ""); err != nil {
			return arm.Reply{}, err
		}
	}
	return arm.Created(entity("groups", showGraphGroup(g))), nil
}

// entity makes an answer of just one object.
func entity(what string, out map[string]any) map[string]any {
	out["@odata.context"] = "$metadata#" + what + "/$entity"
	return out
}

func (s *Service) graphGroup(c *arm.Call) (arm.Reply, error) {
	g, err := s.cfg.Groups.Get(c.Context(), c.Params["group"])
	if err != nil {
		return arm.Reply{}, graphProblem(err)
	}
	return arm.OK(entity("groups", showGraphGroup(g))), nil
}

func (s *Service) graphPatchGroup(c *arm.Call) (arm.Reply, error) {
	var body groupBody
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	if err := body.check(); err != nil {
		return arm.Reply{}, err
	}
	if len(body.Members) > 0 {
		return arm.Reply{}, badRequest("members@odata.bind: members are added one by one, by POST of members/$ref.")
	}
	_, err := s.cfg.Groups.Update(c.Context(), c.Params["group"], func(g *groups.Group) error {
		body.apply(g)
		return nil
	})
	if err != nil {
		return arm.Reply{}, graphProblem(err)
	}
	return arm.NoContent(), nil
}

func (s *Service) graphDeleteGroup(c *arm.Call) (arm.Reply, error) {
	if err := s.dropGroup(c); err != nil {
		return arm.Reply{}, graphProblem(err)
	}
	return arm.NoContent(), nil
}

func (s *Service) graphOwners(c *arm.Call) (arm.Reply, error) {
	if _, err := s.cfg.Groups.Get(c.Context(), c.Params["group"]); err != nil {
		return arm.Reply{}, graphProblem(err)
	}
	return graphAnswer("directoryObjects", []map[string]any{}), nil
}

func (s *Service) graphMembers(c *arm.Call) (arm.Reply, error) {
	g, err := s.cfg.Groups.Get(c.Context(), c.Params["group"])
	if err != nil {
		return arm.Reply{}, graphProblem(err)
	}
	return s.graphObjects(c, g.Members)
}

// graphObjects answers the principals and groups of object ids, without those that
// are gone.
func (s *Service) graphObjects(c *arm.Call, ids []string) (arm.Reply, error) {
	list := []map[string]any{}
	for _, id := range ids {
		shown, err := s.graphObject(c, id)
		if err == nil {
			list = append(list, shown)
		} else if !errors.Is(err, problem.NotFound) {
			return arm.Reply{}, err
		}
	}
	return graphAnswer("directoryObjects", list), nil
}

func (s *Service) graphObject(c *arm.Call, id string) (map[string]any, error) {
	p, err := s.cfg.Directory.Get(c.Context(), strings.ToLower(id))
	if err == nil {
		return s.showGraph(p), nil
	}
	if s.cfg.Groups == nil || !errors.Is(err, problem.NotFound) {
		return nil, err
	}
	g, err := s.cfg.Groups.Get(c.Context(), id)
	return showGraphGroup(g), err
}

// reference is how clients name an object in a body: a URL, or its path. The host
// does not count: there is one directory.
var reference = regexp.MustCompile(`(?i)^(?:https?://[^/?#\s]+)?/?(?:v1\.0/|beta/)?(?:[0-9a-f-]{36}/)?(?:directoryObjects|servicePrincipals|users|groups)/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)

// referenced gives the object id that a reference names, in lower case.
func referenced(text string) (id string, ok bool) {
	found := reference.FindStringSubmatch(text)
	if found == nil {
		return "", false
	}
	return strings.ToLower(found[1]), true
}

func badReference(field string) error {
	return badRequest("%s must be the URL of an object, such as https://graph.microsoft.com/v1.0/directoryObjects/ with its id.", field)
}

func (s *Service) graphAddMember(c *arm.Call) (arm.Reply, error) {
	var body struct {
		Reference string `json:"@odata.id"`
	}
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	id, ok := referenced(body.Reference)
	if !ok {
		return arm.Reply{}, badReference("@odata.id")
	}
	g, err := s.cfg.Groups.AddMember(c.Context(), c.Params["group"], id)
	if err != nil {
		return arm.Reply{}, graphProblem(err)
	}
	if err := s.logMember(c, writeMembers, g.ObjectID, id, ""); err != nil {
		return arm.Reply{}, err
	}
	return arm.NoContent(), nil
}

func (s *Service) graphHasMember(c *arm.Call) (arm.Reply, error) {
	g, err := s.cfg.Groups.Get(c.Context(), c.Params["group"])
	if err != nil {
		return arm.Reply{}, graphProblem(err)
	}
	for _, id := range g.Members {
		if strings.EqualFold(id, c.Params["member"]) {
			return arm.OK(map[string]any{"@odata.context": "$metadata#$ref", "@odata.id": c.BaseURL + "/v1.0/directoryObjects/" + id}), nil
		}
	}
	return arm.Reply{}, arm.Faultf(http.StatusNotFound, "Request_ResourceNotFound", "The group has no member '%s'.", clip(c.Params["member"]))
}

func (s *Service) graphRemoveMember(c *arm.Call) (arm.Reply, error) {
	if _, err := s.cfg.Groups.RemoveMember(c.Context(), c.Params["group"], c.Params["member"]); err != nil {
		return arm.Reply{}, graphProblem(err)
	}
	return arm.NoContent(), nil
}
