package durable

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// links are the addresses by which an instance is managed, as answers have them.
type links struct {
	ID                    string `json:"id"`
	StatusQueryGetURI     string `json:"statusQueryGetUri"`
	SendEventPostURI      string `json:"sendEventPostUri"`
	TerminatePostURI      string `json:"terminatePostUri"`
	RewindPostURI         string `json:"rewindPostUri,omitempty"`
	PurgeHistoryDeleteURI string `json:"purgeHistoryDeleteUri"`
	RestartPostURI        string `json:"restartPostUri"`
	SuspendPostURI        string `json:"suspendPostUri"`
	ResumePostURI         string `json:"resumePostUri"`
}

// linksTo makes the links of an instance; id is as it stands in them. root is the
// address of the host, query what all of them need.
func linksTo(root, id, query string) links {
	one := root + Base + "/instances/" + id
	return links{
		StatusQueryGetURI:     one + "?" + query,
		SendEventPostURI:      one + "/raiseEvent/{eventName}?" + query,
		TerminatePostURI:      one + "/terminate?reason={text}&" + query,
		RewindPostURI:         one + "/rewind?reason={text}&" + query,
		PurgeHistoryDeleteURI: one + "?" + query,
		RestartPostURI:        one + "/restart?" + query,
		SuspendPostURI:        one + "/suspend?reason={text}&" + query,
		ResumePostURI:         one + "/resume?reason={text}&" + query,
	}
}

// query is what all calls carry: the hub, the connection's name and the key.
func (h *Hub) query(key string) string {
	q := "taskHub=" + url.QueryEscape(h.cfg.Name()) + "&connection=Storage"
	if key != "" {
		q += "&code=" + url.QueryEscape(key)
	}
	return q
}

// root gives the address under which a request reached the host.
func root(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// idMark stands for the id of an instance in the value of a client binding.
const idMark = "INSTANCEID"

// Client gives the value of a durableClient binding, by which a function's library
// reaches the webhook; root is the address of the host, such as
// "http://localhost:7071", and also what all calls carry in their query besides, ""
// for nothing. It holds the system key, so that it belongs into no log. Errors are
// those of [Config.Key].
func (h *Hub) Client(ctx context.Context, root, also string) (json.RawMessage, error) {
	key, err := h.cfg.Key(ctx)
	if err != nil {
		return nil, err
	}
	code := "code=" + url.QueryEscape(key)
	query := h.query(key)
	if also != "" {
		code, query = also+"&"+code, also+"&"+query
	}
	manage := linksTo(root, idMark, query)
	manage.ID = idMark
	create := root + Base + "/orchestrators/{functionName}[/{instanceId}]?"
	return json.Marshal(map[string]any{
		"taskHubName": h.cfg.Name(),
		"creationUrls": map[string]string{
			"createNewInstancePostUri":          create + code,
			"createAndWaitOnNewInstancePostUri": create + "timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}&" + code,
		},
		"managementUrls":                manage,
		"baseUrl":                       root + Base,
		"requiredQueryStringParameters": code,
		"httpBaseUrl":                   root + Base + "/",
	})
}
