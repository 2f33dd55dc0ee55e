package deployments

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/resources"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/template"
)

// request is what a client asks to deploy.
type request struct {
	id       resource.ID // of the deployment
	scope    resource.ID // that is deployed to
	location string
	tags     map[string]string
	complete bool   // mode Complete
	text     []byte // of the template
	plan     *template.Plan
}

// body is what clients send.
type body struct {
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	Properties *struct {
		Mode         string          `json:"mode"`
		Template     json.RawMessage `json:"template"`
		TemplateLink json.RawMessage `json:"templateLink"`
		Parameters   json.RawMessage `json:"parameters"`
		// ParametersLink is refused, as nothing is fetched for clients.
		ParametersLink json.RawMessage `json:"parametersLink"`
	} `json:"properties"`
}

var validName = regexp.MustCompile(`^[-\w._()]{1,64}$`)

// read reads a request and plans its template.
func (s *Service) read(c *arm.Call) (*request, error) {
	id := deploymentID(c)
	if name := id.Name(); !validName.MatchString(name) || strings.HasSuffix(name, ".") {
		return nil, arm.Faultf(http.StatusBadRequest, "InvalidDeploymentName",
			"A deployment's name has 1 to 64 letters, digits and -_.() and does not end in a full stop.")
	}
	b, err := readBody(c)
	if err != nil {
		return nil, err
	}
	r := &request{id: id, scope: id.Parent(), location: b.Location, tags: b.Tags, text: b.Properties.Template}
	if err := resources.CheckTags(b.Tags); err != nil {
		return nil, err
	}
	if r.scope.IsSubscription() && b.Location == "" {
		return nil, arm.Fault{Status: http.StatusBadRequest, Code: "LocationRequired", Target: "location",
			Message: "The location property is required for deployments to a subscription."}
	}
	if r.scope.IsGroup() { // which has one itself
		r.location = ""
	}
	switch mode := b.Properties.Mode; {
	case strings.EqualFold(mode, "Complete"):
		r.complete = true
	case mode != "" && !strings.EqualFold(mode, "Incremental"):
		return nil, arm.Fault{Status: http.StatusBadRequest, Code: "InvalidDeploymentMode", Target: "properties.mode",
			Message: "The mode of a deployment is Incremental or Complete."}
	}
	if r.complete && (!r.scope.IsGroup() || depth(c.Context()) > 0) {
		return nil, arm.Fault{Status: http.StatusBadRequest, Code: "InvalidDeploymentMode", Target: "properties.mode",
			Message: "The mode Complete is for deployments to a resource group that are not nested."}
	}
	return r, s.plan(c, r, b.Properties.Parameters)
}

func readBody(c *arm.Call) (body, error) {
	text, err := c.Body()
	if err != nil {
		return body{}, err
	}
	strict, err := template.Relax(text)
	if err != nil {
		return body{}, arm.Fault{Status: http.StatusBadRequest, Code: "InvalidRequestContent", Message: "The request content is invalid: " + err.Error() + "."}
	}
	var b body
	if err := arm.Decode(strict, &b); err != nil {
		return body{}, err
	}
	switch {
	case b.Properties == nil:
		return b, missing("properties")
	case isSet(b.Properties.TemplateLink), isSet(b.Properties.ParametersLink):
		return b, arm.Fault{Status: http.StatusBadRequest, Code: "InvalidTemplate", Target: "properties.templateLink",
			Message: "Linked templates and parameters are not supported: put them into the request."}
	case !isSet(b.Properties.Template):
		return b, missing("properties.template")
	}
	return b, nil
}

func isSet(text json.RawMessage) bool { return len(text) > 0 && string(text) != "null" }

func missing(member string) error {
	return arm.Fault{Status: http.StatusBadRequest, Code: "InvalidRequestContent", Target: member,
		Message: "The request content is invalid: member '" + member + "' is required."}
}

// deploymentID gives the id of the deployment that a call is about, also from the
// paths without a provider.
func deploymentID(c *arm.Call) resource.ID {
	if strings.EqualFold(c.Scope.Type(), Type) {
		return c.Scope
	}
	scope := resource.Subscription(c.Params["subscription"])
	if group := c.Params["group"]; group != "" {
		scope = resource.Group(c.Params["subscription"], group)
	}
	return scope.Child("Microsoft.Resources", "deployments", c.Params["deployment"])
}

// plan reads the template and its parameters.
func (s *Service) plan(c *arm.Call, r *request, parameters json.RawMessage) error {
	t, err := template.Parse(r.text)
	if err != nil {
		return invalidTemplate(err)
	}
	given := map[string]any{}
	if isSet(parameters) {
		if given, err = template.Object(parameters); err != nil {
			return invalidTemplate(problem.Wrap(problem.KindOf(err), "parameters", err))
		}
	}
	if inner, ok := given["parameters"].(map[string]any); ok && given["$schema"] != nil {
		given = inner // a whole file of parameters
	}
	scope, err := s.scope(c, r)
	if err != nil {
		return err
	}
	r.plan, err = t.Plan(template.Input{Parameters: given, Scope: scope, Now: s.cfg.Clock.Now(), NewGUID: uuid.NewString})
	if err != nil {
		return invalidTemplate(err)
	}
	for _, res := range r.plan.Resources {
		if _, err := resource.Parse(res.ID); err != nil {
			return invalidTemplate(problem.Wrap(problem.KindOf(err), res.Path, err))
		}
	}
	return nil
}

// invalidTemplate gives the answer for a template that cannot be deployed.
func invalidTemplate(err error) error {
	switch problem.KindOf(err) {
	case problem.Invalid, problem.TooLarge, problem.Unsupported, problem.NotFound:
		text := err.Error()
		if next := problem.NextOf(err); next != "" {
			text += "; " + next
		}
		return arm.Faultf(http.StatusBadRequest, "InvalidTemplate", "Deployment template validation failed: '%s'.", text)
	}
	return err
}

// scope gives what a template's functions say about where it is deployed.
func (s *Service) scope(c *arm.Call, r *request) (template.Scope, error) {
	sub := r.id.Subscription()
	scope := template.Scope{
		TenantID: s.cfg.TenantID, SubscriptionID: sub,
		Subscription: map[string]any{
			"id": "/subscriptions/" + sub, "subscriptionId": sub, "tenantId": s.cfg.TenantID, "displayName": "Latchkey",
		},
		Tenant:      map[string]any{"tenantId": s.cfg.TenantID, "countryCode": "XX", "displayName": "Latchkey"},
		Environment: environment(resources.EndpointsAt(c.BaseURL)),
		Deployment: map[string]any{"name": r.id.Name(), "properties": map[string]any{
			"mode": mode(r.complete), "provisioningState": "Accepted",
			"template": map[string]any{"contentVersion": "1.0.0.0"},
		}},
	}
	if r.scope.IsSubscription() {
		scope.Deployment["location"] = r.location
		return scope, nil
	}
	group, err := s.cfg.Inventory.Get(c.Context(), r.scope)
	if err != nil {
		return scope, err
	}
	scope.Group = describeGroup(group)
	return scope, nil
}

func describeGroup(g inventory.Resource) map[string]any {
	tags := map[string]any{}
	for name, v := range g.Tags {
		tags[name] = v
	}
	return map[string]any{
		"id": g.ID, "name": g.ResourceID().Name(), "type": "Microsoft.Resources/resourceGroups", "location": g.Location, "tags": tags,
		"properties": map[string]any{"provisioningState": "Succeeded"},
	}
}

func mode(complete bool) string {
	if complete {
		return "Complete"
	}
	return "Incremental"
}

// environment gives what environment() says of the cloud.
func environment(e resources.Endpoints) map[string]any {
	audiences := []any{}
	for _, a := range e.Audiences {
		audiences = append(audiences, a)
	}
	return map[string]any{
		"name": e.Name, "resourceManager": e.ResourceManager, "portal": e.Portal, "graph": e.Graph, "graphAudience": e.Graph,
		"gallery": e.ResourceManager, "sqlManagement": e.ResourceManager, "batch": e.ResourceManager, "media": e.ResourceManager,
		"vmImageAliasDoc": e.ResourceManager + "aliases.json", "activeDirectoryDataLake": e.ResourceManager,
		"authentication": map[string]any{
			"loginEndpoint": e.Login + "/", "audiences": audiences, "tenant": "common", "identityProvider": "AAD",
		},
		"suffixes": map[string]any{
			"storage": e.Storage, "keyvaultDns": "." + e.KeyVaultDNS, "sqlServerHostname": ".database." + e.Host, "acrLoginServer": ".azurecr." + e.Host,
			"azureDatalakeAnalyticsCatalogAndJob": "", "azureDatalakeStoreFileSystem": "", "azureFrontDoorEndpointSuffix": "",
		},
	}
}
