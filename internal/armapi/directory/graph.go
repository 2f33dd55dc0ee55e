package directory

import (
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
)

// GraphOperations gives the directory calls of Azure CLI and Terraform, for the
// same actions as our own. Serve them behind [Graph].
func (s *Service) GraphOperations() []arm.Operation {
	const (
		revoke = "/{principal}/revokeSignInSessions"
		expire = principalType + "/expireTokens/action"
	)
	return append(s.graphGroupOperations(), []arm.Operation{
		{Method: "GET", Pattern: "/v1.0/servicePrincipals", Action: readAction, Handler: s.graphList},
		{Method: "GET", Pattern: "/v1.0/servicePrincipals/{principal}", Action: readAction, Handler: s.graphGet},
		{Method: "POST", Pattern: "/v1.0/directoryObjects/getByIds", Action: readAction, Handler: s.graphByIDs, Reads: true},
		{Method: "GET", Pattern: "/v1.0/directoryObjects/{object}", Action: readAction, Handler: s.graphAny},
		{Method: "POST", Pattern: "/v1.0/servicePrincipals" + revoke, Action: expire, Handler: s.graphRevoke},
		{Method: "POST", Pattern: "/v1.0/users" + revoke, Action: expire, Handler: s.graphRevoke},
	}...)
}

// Graph lets the directory calls reach the management API, which asks for an
// api-version that they do not have.
func Graph(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v1.0/") || r.URL.Query().Has("api-version") {
			next.ServeHTTP(w, r)
			return
		}
		r2 := r.Clone(r.Context())
		if r2.URL.RawQuery += "&api-version=2020-01-01"; strings.HasPrefix(r2.URL.RawQuery, "&") {
			r2.URL.RawQuery = r2.URL.RawQuery[1:]
		}
		next.ServeHTTP(w, r2)
	})
}

// maxIDs is the most ids of one getByIds.
const maxIDs = 1000

// graphList lists the service principals that a filter chooses; without one all.
func (s *Service) graphList(c *arm.Call) (arm.Reply, error) {
	match, err := principalFilter(c.Query.Get("$filter"))
	if err != nil {
		return arm.Reply{}, graphFault(err)
	}
	all, err := s.cfg.Directory.List(c.Context())
	if err != nil {
		return arm.Reply{}, err
	}
	list := []map[string]any{}
	for _, p := range all {
		if p.Kind != identity.User && match(p) {
			list = append(list, s.showGraph(p))
		}
	}
	return graphAnswer("servicePrincipals", list), nil
}

func (s *Service) graphGet(c *arm.Call) (arm.Reply, error) {
	p, err := s.cfg.Directory.Get(c.Context(), strings.ToLower(c.Params["principal"]))
	if errors.Is(err, problem.NotFound) || err == nil && p.Kind == identity.User {
		return arm.Reply{}, arm.Faultf(http.StatusNotFound, "Request_ResourceNotFound", "There is no service principal '%s'.", clip(c.Params["principal"]))
	}
	if err != nil {
		return arm.Reply{}, graphFault(err)
	}
	return arm.OK(s.showGraph(p)), nil
}

func (s *Service) graphByIDs(c *arm.Call) (arm.Reply, error) {
	var body struct {
		IDs []string `json:"ids"`
	}
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	if len(body.IDs) > maxIDs {
		return arm.Reply{}, arm.Faultf(http.StatusBadRequest, "Request_BadRequest", "At most %d ids can be asked for at once.", maxIDs)
	}
	return s.graphObjects(c, body.IDs)
}

// graphAny gives a principal or a group.
func (s *Service) graphAny(c *arm.Call) (arm.Reply, error) {
	shown, err := s.graphObject(c, c.Params["object"])
	if err != nil {
		return arm.Reply{}, graphProblem(err)
	}
	return arm.OK(entity("directoryObjects", shown)), nil
}

func graphFault(err error) error {
	var p *problem.Error
	if errors.As(err, &p) && p.Kind == problem.Invalid {
		return arm.Faultf(http.StatusBadRequest, "Request_UnsupportedQuery", "The request is not supported: %s.", p.Message)
	}
	return err
}

func graphAnswer(what string, list []map[string]any) arm.Reply {
	return arm.OK(map[string]any{"@odata.context": "$metadata#" + what, "value": list})
}

// showGraph gives a principal in the directory's form.
func (s *Service) showGraph(p identity.Principal) map[string]any {
	out := map[string]any{"id": p.ObjectID, "displayName": p.Name, "accountEnabled": !p.Disabled}
	if p.Kind == identity.User {
		out["@odata.type"], out["userPrincipalName"] = "#microsoft.graph.user", p.Name
		return out
	}
	kind, alternatives := "Application", []string{}
	if p.Kind == identity.ManagedIdentity {
		kind, alternatives = "ManagedIdentity", []string{"isExplicit=True", p.ResourceID}
		if !strings.Contains(strings.ToLower(p.ResourceID), "/userassignedidentities/") {
			alternatives[0] = "isExplicit=False"
		}
	}
	out["@odata.type"], out["appId"], out["appDisplayName"] = "#microsoft.graph.servicePrincipal", p.AppID, p.Name
	out["servicePrincipalType"], out["alternativeNames"] = kind, alternatives
	out["servicePrincipalNames"], out["appOwnerOrganizationId"] = []string{p.AppID}, s.cfg.TenantID
	return out
}
