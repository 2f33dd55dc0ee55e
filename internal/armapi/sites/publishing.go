package sites

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/problem"
)

const policies = "basicPublishingCredentialsPolicies"

func (api *API) publishingOperations() []arm.Operation {
	ops := []arm.Operation{
		secret(api.at("POST", "/config/publishingcredentials/list", api.listCredentials)),
		secret(api.at("POST", "/publishxml", api.publishProfile)),
		api.at("POST", "/newpassword", api.newPassword),
		api.at("GET", "/"+policies, api.listPolicies),
	}
	ops[1].Reads = true
	for _, p := range []app.Section{app.PolicySCM, app.PolicyFTP} {
		ops = append(ops, api.at("GET", "/"+policies+"/"+string(p), api.getPolicy(p)), api.at("PUT", "/"+policies+"/"+string(p), api.putPolicy(p)))
	}
	return ops
}

// credentials are what opens the deployment endpoint.
type credentials struct {
	Name         *string `json:"name"`
	User         string  `json:"publishingUserName"`
	Password     string  `json:"publishingPassword"`
	PasswordHash *string `json:"publishingPasswordHash"`
	PasswordSalt *string `json:"publishingPasswordHashSalt"`
	SCM          string  `json:"scmUri"`
}

// publishing reads an app's credential.
func (api *API) publishing(c *arm.Call, a app.App) (app.Credential, error) {
	cred, err := api.Apps.Publishing(c.Context(), a.ID)
	return cred, missing(err, a.ID)
}

// listCredentials puts the password into an address, as the platform does: that
// is what its clients read. The address is never logged, it is in the body only.
func (api *API) listCredentials(c *arm.Call, a app.App) (arm.Reply, error) {
	cred, err := api.publishing(c, a)
	if err != nil {
		return arm.Reply{}, err
	}
	address := url.URL{Scheme: "https", User: url.UserPassword(cred.User, cred.Password), Host: api.Apps.Hosts(a.Name).SCM}
	shown := childOf(a, "config", "publishingcredentials", credentials{User: cred.User, Password: cred.Password, SCM: address.String()})
	shown.ID, shown.Name, shown.Type = a.ID.String()+"/publishingcredentials/"+cred.User, a.Name, app.SiteType+"/publishingcredentials"
	return arm.OK(shown), nil
}

// publishData is a publish profile file.
type publishData struct {
	XMLName  xml.Name  `xml:"publishData"`
	Profiles []profile `xml:"publishProfile"`
}

type profile struct {
	Name   string `xml:"profileName,attr"`
	Method string `xml:"publishMethod,attr"`
	URL    string `xml:"publishUrl,attr"`
	User   string `xml:"userName,attr"`
	Pass   string `xml:"userPWD,attr"`
	App    string `xml:"destinationAppUrl,attr"`
	SQL    string `xml:"SQLServerDBConnectionString,attr"`
	MySQL  string `xml:"mySQLDBConnectionString,attr"`
	Forum  string `xml:"hostingProviderForumLink,attr"`
	Panel  string `xml:"controlPanelLink,attr"`
	System string `xml:"webSystem,attr"`
}

// publishProfile answers with the zip deployment profile; there is no other way
// to deploy with a password.
func (api *API) publishProfile(c *arm.Call, a app.App) (arm.Reply, error) {
	cred, err := api.publishing(c, a)
	if err != nil {
		return arm.Reply{}, err
	}
	h := api.Apps.Hosts(a.Name)
	host := h.SCM
	if !strings.Contains(host, ":") {
		host += ":443"
	}
	text, err := xml.Marshal(publishData{Profiles: []profile{{
		Name: a.Name + " - Zip Deploy", Method: "ZipDeploy", URL: host, User: cred.User, Pass: cred.Password, App: h.AppURL, System: "WebSites",
	}}})
	return arm.Reply{Raw: text, RawType: "text/xml; charset=utf-8"}, err
}

func (api *API) newPassword(c *arm.Call, a app.App) (arm.Reply, error) {
	return arm.Status(http.StatusOK), api.Apps.NewPublishingPassword(c.Context(), a.ID, c.Caller.ObjectID)
}

func (api *API) policy(c *arm.Call, a app.App, p app.Section) (child, error) {
	allow, err := api.Apps.PasswordsAllowed(c.Context(), a.ID, p)
	return childOf(a, policies, string(p), map[string]bool{"allow": allow}), missing(err, a.ID)
}

func (api *API) getPolicy(p app.Section) siteHandler {
	return func(c *arm.Call, a app.App) (arm.Reply, error) {
		shown, err := api.policy(c, a, p)
		return arm.OK(shown), err
	}
}

func (api *API) putPolicy(p app.Section) siteHandler {
	return func(c *arm.Call, a app.App) (arm.Reply, error) {
		var said struct {
			Properties struct {
				Allow *bool `json:"allow"`
			} `json:"properties"`
		}
		if err := c.JSON(&said); err != nil {
			return arm.Reply{}, err
		}
		if said.Properties.Allow == nil {
			return arm.Reply{}, problem.New(problem.Invalid, "member 'properties.allow' must be true or false")
		}
		if err := api.Apps.AllowPasswords(c.Context(), a.ID, c.Caller.ObjectID, p, *said.Properties.Allow); err != nil {
			return arm.Reply{}, err
		}
		shown, err := api.policy(c, a, p)
		return arm.OK(shown), err
	}
}

func (api *API) listPolicies(c *arm.Call, a app.App) (arm.Reply, error) {
	var all []child
	for _, p := range []app.Section{app.PolicyFTP, app.PolicySCM} {
		shown, err := api.policy(c, a, p)
		if err != nil {
			return arm.Reply{}, err
		}
		all = append(all, shown)
	}
	return arm.List(c, all, ""), nil
}
