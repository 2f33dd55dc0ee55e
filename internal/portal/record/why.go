package record

import (
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

// keyReasons are the texts of why a key did not open a function, by how the
// management API names it.
var keyReasons = map[string]string{
	"noKey": "why.nokey", "unknown": "why.unknown", "otherFunction": "why.otherfunction", "notIdentifiable": "why.notidentifiable", "tooLong": "why.toolong",
	"notEvaluated": "why.often", "storeUnavailable": "why.store", "keyDisabled": "why.disabled", "notYetValid": "why.notyet", "keyExpired": "why.expired",
	"methodNotAllowed": "why.method", "functionNotAllowed": "why.function", "sourceNotAllowed": "why.source", "rateExceeded": "why.rate",
	"quotaExceeded": "why.quota", "metadataUnreadable": "why.metadata",
}

// texts are those of other reasons.
var texts = map[string]string{
	"the key is used more often than its rate allows": "why.rate", "the key has used up its quota of this period": "why.quota",
	"too many wrong keys from this address": "why.often",
	"AuthorizationFailed":                   "why.role", "LinkedAuthorizationFailed": "why.role", "ForbiddenByRbac": "why.role", "ForbiddenByPolicy": "why.policy",
	"InvalidAuthenticationToken": "why.token", "ExpiredAuthenticationToken": "why.token.old", "AuthenticationFailed": "why.token",
	"ForbiddenByFirewall": "why.firewall", "ForbiddenByConnection": "why.firewall",
}

// answer is a decision in words.
type answer struct {
	ID    string
	Event *Event
	Gone  bool // nothing is known of the id
	Text  string
	App   *place.App
	Key   string // name of the key
	KeyAt string // its page
	Vault string // page of the vault
}

// Next gives the text of what to do; every reason has one.
func (a answer) Next() string { return a.Text + ".next" }

// Function names the function that was called.
func (a answer) Function() string { return a.Event.Details["function"] }

// Target names what was called, for sentences.
func (a answer) Target() string { return a.Event.Target() }

func (p *pages) explain(v *page.Visit) error {
	a := answer{ID: strings.TrimSpace(v.R.URL.Query().Get("id"))}
	status := http.StatusOK
	if a.ID != "" {
		var e Event
		err := v.API().Get(v.Context(), api+client.Path("decisions", a.ID)[1:], &e)
		switch {
		case errors.Is(err, problem.NotFound), errors.Is(err, problem.Invalid):
			a.Gone, status = true, http.StatusNotFound
		case err != nil:
			return err
		default:
			a.about(v, e)
		}
	}
	return v.ShowAs(status, p.why, page.Content{Title: v.Text.Plain("why.title"), Data: a, Crumbs: []page.Crumb{{Name: v.Text.Plain("audit.title"), URL: Path}}})
}

// about puts an event into words.
func (a *answer) about(v *page.Visit, e Event) {
	a.Event, a.Text = &e, textOf(e)
	app, rest := appOf(v, e.Scope)
	if app.Name == "" {
		a.Vault = vaultOf(e.Scope)
		return
	}
	a.App = &app
	kind, name, ok := strings.Cut(e.Details["key"], "/")
	if !ok {
		return
	}
	a.Key = name
	if kind == "function" && rest != "" {
		a.KeyAt = app.URL("functions", rest, "keys", kind, name)
		return
	}
	a.KeyAt = app.URL("keys", kind, name)
}

// textOf finds the words for a decision.
func textOf(e Event) string {
	reason, isKey := strings.CutPrefix(e.Reason, "key: ")
	switch {
	case strings.EqualFold(e.Outcome, "admitted"):
		return "why.own"
	case isKey && keyReasons[reason] != "":
		return keyReasons[reason]
	case isKey:
		return "why.level"
	case texts[e.Reason] != "":
		return texts[e.Reason]
	case strings.EqualFold(e.Outcome, "denied"):
		return "why.other"
	case strings.EqualFold(e.Outcome, "failed"):
		return "why.failed"
	}
	return "why.done"
}

// appOf finds the app and the function that a resource id is of or lies in.
func appOf(v *page.Visit, id string) (a place.App, function string) {
	s := strings.Split(strings.Trim(id, "/"), "/")
	if len(s) < 8 || !strings.EqualFold(s[5], "Microsoft.Web") || !strings.EqualFold(s[6], "sites") {
		return a, ""
	}
	a = place.App{Subscription: v.Site().SubscriptionID, Group: s[3], Name: s[7]}
	if len(s) >= 10 && strings.EqualFold(s[8], "functions") {
		function = s[9]
	}
	return a, function
}

// vaultOf gives the page of the vault that a resource id is of or lies in.
func vaultOf(id string) string {
	s := strings.Split(strings.Trim(id, "/"), "/")
	if len(s) < 8 || !strings.EqualFold(s[5], "Microsoft.KeyVault") || !strings.EqualFold(s[6], "vaults") {
		return ""
	}
	return strings.TrimSuffix(page.Base, "/") + client.Path("vaults", s[3], s[7])
}
