package directory_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/armapi/directory"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/resource"
)

const groupsPath = "/providers/Latchkey.Directory/groups"

// group makes one and gives its object id and path.
func (e *env) group(name string) (id, path string) {
	e.Helper()
	g := e.want(201, "POST", groupsPath, `{"name":"`+name+`"}`)
	id = g["objectId"].(string)
	return id, groupsPath + "/" + id
}

func ids(list []object) []string {
	var out []string
	for _, item := range list {
		for _, name := range []string{"objectId", "id"} {
			if id, ok := item[name].(string); ok {
				out = append(out, id)
				break
			}
		}
	}
	slices.Sort(out)
	return out
}

func sorted(list ...string) []string { slices.Sort(list); return list }

func TestGroupLifecycle(t *testing.T) {
	e := newEnv(t)
	g := e.want(201, "POST", groupsPath, `{"name":"Readers","description":"who reads","mailNickname":"readers"}`)
	id := g["objectId"].(string)
	path := groupsPath + "/" + id
	if g["id"] != path || g["type"] != "Latchkey.Directory/groups" || g["name"] != "Readers" || g["memberCount"] != 0.0 || g["created"] != "2030-01-01T00:00:00Z" {
		t.Errorf("%v", g)
	}
	if got := e.want(200, "GET", groupsPath+"/"+strings.ToUpper(id), ""); got["description"] != "who reads" {
		t.Errorf("%v", got)
	}
	if got := e.want(200, "PUT", path, `{"name":"Others"}`); got["name"] != "Others" || got["description"] != nil {
		t.Errorf("%v", got)
	}
	p := e.want(201, "POST", all, `{"name":"ci"}`)
	e.want(201, "PUT", path+"/members/"+p["appId"].(string), "")
	e.want(201, "PUT", path+"/members/"+strings.ToUpper(reader), "")
	e.want(200, "PUT", path+"/members/"+reader, "")
	inner, _ := e.group("inner")
	if m := e.want(201, "PUT", path+"/members/"+inner, ""); m["kind"] != "Group" || m["name"] != "inner" {
		t.Errorf("%v", m)
	}
	list := values(e.want(200, "GET", path+"/members", ""))
	if got, want := ids(list), sorted(reader, inner, p["objectId"].(string)); !slices.Equal(got, want) {
		t.Errorf("members %v, want %v", got, want)
	}
	for filter, want := range map[string]int{"name eq 'OTHERS'": 1, "member eq '" + reader + "'": 1, "mailNickname eq 'readers'": 0, "id eq '" + inner + "'": 1} {
		if list := values(e.want(200, "GET", groupsPath+"?$filter="+url.QueryEscape(filter), "")); len(list) != want {
			t.Errorf("%s: %v", filter, list)
		}
	}
	first := e.want(200, "GET", groupsPath+"?$top=1", "")
	rest := e.want(200, "GET", strings.Replace(strings.TrimPrefix(first["nextLink"].(string), "https://localhost:7443"), "api-version=2026-01-01&", "", 1), "")
	if len(values(first)) != 1 || len(values(rest)) != 1 {
		t.Errorf("%v %v", first, rest)
	}
	e.want(200, "DELETE", path+"/members/"+p["appId"].(string), "")
	e.want(204, "DELETE", path+"/members/"+p["appId"].(string), "")
	e.want(204, "DELETE", path+"/members/nobody", "")
	e.want(200, "DELETE", path, "")
	e.want(204, "DELETE", path, "")
	e.want(204, "DELETE", groupsPath+"/nonsense", "")
}

func TestGroupsThatCannotBe(t *testing.T) {
	e := newEnv(t)
	_, path := e.group("readers")
	e.want(400, "POST", groupsPath, `{}`)
	e.want(400, "POST", groupsPath, `{"name":"x","mailNickname":"a b"}`)
	e.want(404, "PUT", groupsPath+"/"+uuid.NewString(), `{"name":"x"}`) // ids are the server's choice
	e.want(400, "PUT", path, `{"name":""}`)
	e.want(404, "PUT", path+"/members/"+uuid.NewString(), "")
	e.want(404, "PUT", path+"/members/nonsense", "")
	e.want(400, "PUT", path+"/members/"+strings.TrimPrefix(path, groupsPath+"/"), "")
	e.want(404, "GET", groupsPath+"/nonsense", "")
	e.want(404, "GET", groupsPath+"/"+uuid.NewString()+"/members", "")
	e.want(400, "GET", groupsPath+"?$filter="+url.QueryEscape("color eq 'red'"), "")
	id := strings.TrimPrefix(path, groupsPath+"/")
	e.want(409, "PUT", all+"/"+id, `{"name":"x"}`) // a principal with the id of a group
}

// A role of a group is its members' from the next call on, and no longer when they
// are out of it, whatever tokens they have.
func TestPermissionThroughAGroupCountsAtOnce(t *testing.T) {
	e := newEnv(t)
	who := uuid.NewString()
	if _, err := e.directory.Create(t.Context(), identity.Principal{ObjectID: who, Name: "ann", Kind: identity.User}); err != nil {
		t.Fatal(err)
	}
	inner, innerPath := e.group("inner")
	outer, outerPath := e.group("outer")
	e.assign(resource.Root, outer, rbac.Reader)
	e.wantAs(who, 403, "GET", all, "")
	for range 5 {
		e.want(201, "PUT", innerPath+"/members/"+who, "")
		e.wantAs(who, 403, "GET", all, "")
		e.want(201, "PUT", outerPath+"/members/"+inner, "")
		e.wantAs(who, 200, "GET", all, "")
		e.want(200, "DELETE", innerPath+"/members/"+who, "")
		e.wantAs(who, 403, "GET", all, "")
		e.want(200, "DELETE", outerPath+"/members/"+inner, "")
	}
	e.want(201, "PUT", outerPath+"/members/"+who, "")
	e.wantAs(who, 200, "GET", all, "")
	e.want(200, "DELETE", outerPath, "")
	e.wantAs(who, 403, "GET", all, "")
	if left, err := e.roles.Assignments(); err != nil || len(left) != 2 {
		t.Errorf("roles of a deleted group stay: %+v %v", left, err)
	}
}

func TestWhoIsDeletedLeavesItsGroups(t *testing.T) {
	e := newEnv(t)
	id, path := e.group("readers")
	outer, outerPath := e.group("outer")
	e.want(201, "PUT", path+"/members/"+reader, "")
	e.want(201, "PUT", outerPath+"/members/"+id, "")
	e.want(200, "DELETE", all+"/"+reader, "")
	e.want(200, "DELETE", path, "")
	for _, group := range []string{id, outer} {
		gone, _, err := e.audit.List(t.Context(), audit.Filter{Action: "Latchkey.Directory/groups/members/delete", Scope: groupsPath + "/" + group})
		if err != nil || len(gone) != 1 || gone[0].Principal.ObjectID != admin {
			t.Errorf("%+v %v", gone, err)
		}
	}
	if list := values(e.want(200, "GET", outerPath+"/members", "")); len(list) != 0 {
		t.Errorf("%v", list)
	}
}

// A group is no owner that stays: its members can all go.
func TestAGroupOfOwnersDoesNotReplaceTheLastOne(t *testing.T) {
	e := newEnv(t)
	owners, path := e.group("owners")
	e.want(201, "PUT", path+"/members/"+reader, "")
	e.assign(resource.Root, owners, rbac.Owner)
	e.wantAs(reader, 201, "POST", all, `{"name":"x"}`)
	e.want(409, "DELETE", all+"/"+admin, "")
	e.want(409, "POST", all+"/"+admin+"/disable", "")
	e.want(200, "DELETE", path, "")
	e.wantAs(reader, 403, "POST", all, `{"name":"x"}`)
}

func TestWhoMayChangeGroups(t *testing.T) {
	e := newEnv(t)
	contributor, nobody := uuid.NewString(), uuid.NewString()
	e.principal(contributor, rbac.Contributor)
	id, path := e.group("readers")
	graph := "/v1.0/groups/" + id
	e.wantAs(reader, 200, "GET", path+"/members", "")
	e.wantAs(reader, 200, "GET", graph+"/members", "")
	for _, who := range []string{reader, contributor} {
		for _, call := range [][2]string{
			{"POST", groupsPath}, {"PUT", path}, {"DELETE", path}, {"PUT", path + "/members/" + who}, {"DELETE", path + "/members/" + who},
			{"POST", "/v1.0/groups"}, {"PATCH", graph}, {"DELETE", graph}, {"POST", graph + "/members/$ref"}, {"DELETE", graph + "/members/" + who + "/$ref"},
			{"POST", all + "/" + admin + "/expireTokens"}, {"POST", "/v1.0/servicePrincipals/" + admin + "/revokeSignInSessions"},
			{"POST", "/v1.0/users/" + admin + "/revokeSignInSessions"},
		} {
			e.wantAs(who, 403, call[0], call[1], `{"name":"x"}`)
		}
	}
	for _, path := range []string{groupsPath, path, path + "/members", "/v1.0/groups", graph, graph + "/members", graph + "/owners", graph + "/memberOf", "/v1.0/directoryObjects/" + id} {
		e.wantAs(nobody, 403, "GET", path, "")
	}
	e.wantAs(nobody, 403, "POST", "/v1.0/servicePrincipals/"+admin+"/getMemberGroups", `{}`)
}

func TestTokensOfAPrincipalAreExpired(t *testing.T) {
	e := newEnv(t)
	p, err := e.directory.Get(t.Context(), reader)
	if err != nil {
		t.Fatal(err)
	}
	accepted := func(epoch int64) bool {
		_, err := e.directory.Accepts(t.Context(), reader, epoch)
		return err == nil
	}
	if got := e.want(200, "POST", all+"/"+p.AppID+"/expireTokens", ""); got["objectId"] != reader || accepted(p.Epoch) || !accepted(p.Epoch+1) {
		t.Errorf("%v", got)
	}
	if got := e.want(200, "POST", "/v1.0/servicePrincipals/"+reader+"/revokeSignInSessions", ""); got["value"] != true || accepted(p.Epoch+1) || !accepted(p.Epoch+2) {
		t.Errorf("%v", got)
	}
	e.want(404, "POST", all+"/"+uuid.NewString()+"/expireTokens", "")
	e.want(404, "POST", "/v1.0/users/"+uuid.NewString()+"/revokeSignInSessions", "")
	list, _, err := e.audit.List(t.Context(), audit.Filter{Category: audit.Write, Action: "Latchkey.Directory/principals/expireTokens/action"})
	if err != nil || len(list) < 2 || list[0].Principal.ObjectID != admin {
		t.Errorf("%+v %v", list, err)
	}
}

// The calls of az ad group and of Terraform's azuread_group.
func TestGroupCallsOfOtherClients(t *testing.T) {
	e := newEnv(t)
	ref := func(id string) string {
		return `{"@odata.id":"https://graph.microsoft.com/v1.0/directoryObjects/` + id + `"}`
	}
	g := e.want(201, "POST", "/v1.0/groups", `{"displayName":"Team O'Neill","mailNickname":"team","mailEnabled":false,"securityEnabled":true,
		"groupTypes":[],"owners@odata.bind":["https://graph.microsoft.com/v1.0/servicePrincipals/`+admin+`"],
		"members@odata.bind":["https://graph.microsoft.com/v1.0/directoryObjects/`+strings.ToUpper(reader)+`"]}`)
	id := g["id"].(string)
	path := "/v1.0/groups/" + id
	if g["displayName"] != "Team O'Neill" || g["securityEnabled"] != true || g["description"] != nil || g["createdDateTime"] != "2030-01-01T00:00:00Z" {
		t.Errorf("%v", g)
	}
	for filter, want := range map[string]int{
		"displayName eq 'team o''neill'": 1, "startswith(displayName,'Team O''')": 1, "startswith(displayName,'x')": 0, "": 1,
		"displayName eq 'Team O''Neill' and mailNickname eq 'team' and securityEnabled eq true and mailEnabled eq false": 1, "mailEnabled eq true": 0,
	} {
		if list := values(e.want(200, "GET", "/v1.0/groups?$filter="+url.QueryEscape(filter), "")); len(list) != want {
			t.Errorf("%s: %v", filter, list)
		}
	}
	e.want(400, "GET", "/v1.0/groups?$filter="+url.QueryEscape("members/any(m:m/id eq 'x')"), "")
	e.want(204, "POST", path+"/members/$ref", ref(admin))
	if out := e.want(400, "POST", path+"/members/$ref", ref(admin)); !strings.Contains(fmt.Sprint(out), "already exist") {
		t.Errorf("%v", out)
	}
	e.want(404, "POST", path+"/members/$ref", ref(uuid.NewString()))
	e.want(400, "POST", path+"/members/$ref", ref("../"+admin))
	if got := ids(values(e.want(200, "GET", path+"/members", ""))); !slices.Equal(got, sorted(admin, reader)) {
		t.Errorf("%v", got)
	}
	if list := values(e.want(200, "GET", path+"/owners", "")); len(list) != 0 {
		t.Errorf("%v", list)
	}
	e.want(200, "GET", path+"/members/"+admin+"/$ref", "")
	e.want(204, "DELETE", path+"/members/"+admin+"/$ref", "")
	e.want(404, "DELETE", path+"/members/"+admin+"/$ref", "")
	e.want(404, "GET", path+"/members/"+admin+"/$ref", "")
	e.want(204, "PATCH", path, `{"description":"d"}`)
	if got := e.want(200, "GET", path, ""); got["description"] != "d" || got["displayName"] != "Team O'Neill" {
		t.Errorf("%v", got)
	}
	if got := e.want(200, "GET", "/v1.0/directoryObjects/"+id, ""); got["@odata.type"] != "#microsoft.graph.group" {
		t.Errorf("%v", got)
	}
	body, _ := json.Marshal(object{"ids": []string{reader, id}})
	if got := ids(values(e.want(200, "POST", "/v1.0/directoryObjects/getByIds", string(body)))); !slices.Equal(got, sorted(reader, id)) {
		t.Errorf("%v", got)
	}
	e.want(204, "DELETE", path, "")
	e.want(404, "DELETE", path, "")
	e.want(404, "GET", path, "")
	e.want(404, "GET", "/v1.0/directoryObjects/"+id, "")
	added, _, err := e.audit.List(t.Context(), audit.Filter{Action: "Latchkey.Directory/groups/members/write", Scope: groupsPath + "/" + id})
	if err != nil || len(added) != 2 || added[0].Details["memberId"] != admin || added[1].Details["memberId"] != reader {
		t.Errorf("%+v %v", added, err)
	}
}

func TestGroupsOfOtherKindsAreRefused(t *testing.T) {
	e := newEnv(t)
	good := object{"displayName": "x", "mailNickname": "x", "mailEnabled": false, "securityEnabled": true}
	for field, value := range map[string]any{
		"mailEnabled": true, "securityEnabled": false, "groupTypes": []string{"Unified"}, "membershipRule": "all", "isAssignableToRole": true,
		"members@odata.bind": []string{"x"}, "displayName": nil, "mailNickname": nil, "mailNickname ": "",
	} {
		body := object{}
		for k, v := range good {
			body[k] = v
		}
		if body[field] = value; field == "mailNickname " {
			body["displayName"] = ""
		}
		text, _ := json.Marshal(body)
		if out := e.want(400, "POST", "/v1.0/groups", string(text)); !strings.Contains(fmt.Sprint(out), "Request_BadRequest") {
			t.Errorf("%s: %v", field, out)
		}
	}
	id, _ := e.group("readers")
	e.want(400, "PATCH", "/v1.0/groups/"+id, `{"groupTypes":["DynamicMembership"]}`)
	e.want(400, "PATCH", "/v1.0/groups/"+id, `{"members@odata.bind":["x"]}`)
	e.want(400, "PATCH", "/v1.0/groups/"+id, `{"displayName":""}`)
	e.want(404, "PATCH", "/v1.0/groups/"+uuid.NewString(), `{}`)
}

func TestGroupsOfAMember(t *testing.T) {
	e := newEnv(t)
	inner, innerPath := e.group("inner")
	outer, outerPath := e.group("outer")
	e.want(201, "PUT", innerPath+"/members/"+reader, "")
	e.want(201, "PUT", outerPath+"/members/"+inner, "")
	for path, want := range map[string][]string{
		"/v1.0/servicePrincipals/" + reader + "/memberOf":           {inner},
		"/v1.0/servicePrincipals/" + reader + "/transitiveMemberOf": sorted(inner, outer),
		"/v1.0/groups/" + inner + "/memberOf":                       {outer},
		"/v1.0/users/" + admin + "/transitiveMemberOf":              nil,
	} {
		if got := ids(values(e.want(200, "GET", path, ""))); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	all := e.want(200, "POST", "/v1.0/servicePrincipals/"+strings.ToUpper(reader)+"/getMemberGroups", `{"securityEnabledOnly":true}`)
	if got := fmt.Sprint(all["value"]); got != fmt.Sprint(sorted(inner, outer)) {
		t.Errorf("%s", got)
	}
	some := e.want(200, "POST", "/v1.0/directoryObjects/"+reader+"/checkMemberGroups", `{"groupIds":["`+strings.ToUpper(outer)+`","`+admin+`"]}`)
	if got := fmt.Sprint(some["value"]); got != "["+outer+"]" {
		t.Errorf("%s", got)
	}
	e.want(404, "POST", "/v1.0/directoryObjects/"+uuid.NewString()+"/checkMemberGroups", `{"groupIds":[]}`)
	many, _ := json.Marshal(object{"groupIds": make([]string, 21)})
	e.want(400, "POST", "/v1.0/directoryObjects/"+reader+"/checkMemberGroups", string(many))
}

func TestWithoutGroupsThereAreNoOperationsOnThem(t *testing.T) {
	e := newEnv(t)
	s, err := directory.New(directory.Config{Directory: e.directory, Roles: e.roles, Audit: e.audit, TenantID: tenant, SubscriptionID: subID})
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range append(s.Operations(), s.GraphOperations()...) {
		if strings.Contains(strings.ToLower(op.Pattern), "group") {
			t.Errorf("%s %s", op.Method, op.Pattern)
		}
	}
}
