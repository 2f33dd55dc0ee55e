package vaults

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/access"
	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/groups"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/problem"
)

// usual is how many days deleted secrets are kept unless it is said.
const usual = "90"

// plan is what was filled in for a new vault.
type plan struct {
	Name, Days string
	Group      groups.Field
	Policies   bool // decide about access, not roles
	Protected  bool
	Own        bool // whoever makes it may use its secrets
	Failed     string
	Lacks      string
	Deleted    *deleted // has the name
}

func (p *pages) showNew(v *page.Visit) error {
	return p.showPlan(v, plan{Days: usual, Own: true})
}

func (p *pages) showPlan(v *page.Visit, n plan) (err error) {
	if n.Group, err = groups.Read(v, n.Group.Chosen); err != nil {
		return err
	}
	n.Lacks = groups.Lacking(v, makes)
	status := http.StatusOK
	if n.Failed != "" {
		status = http.StatusBadRequest
	}
	return v.ShowAs(status, p.make, page.Content{
		Scope: client.Path("subscriptions", v.Site().SubscriptionID), Title: v.Text.Plain("vault.new"), Crumbs: []page.Crumb{{Name: v.Text.Plain("vault.list"), URL: path}}, Data: n,
	})
}

func planOf(v *page.Visit) plan {
	form := v.R.PostForm
	return plan{
		Name: strings.TrimSpace(form.Get("name")), Days: strings.TrimSpace(form.Get("days")), Group: groups.Field{Chosen: groups.Chosen(v)},
		Policies: form.Get("access") == "policies", Protected: form.Get("protected") == "true", Own: form.Get("own") == "true",
	}
}

func (p *pages) create(v *page.Visit) error {
	n := planOf(v)
	free, err := n.check(v)
	if err == nil && free {
		err = n.create(v)
	}
	switch {
	case err != nil && page.Detail(err) != "" && (errors.Is(err, problem.Invalid) || errors.Is(err, problem.Conflict)):
		n.Failed = page.Detail(err)
	case err != nil:
		return err
	}
	if n.Failed != "" {
		return p.showPlan(v, n)
	}
	done := "?done=vault-made"
	if n.Own && n.let(v) != nil {
		done = "?done=vault-made-bare"
	}
	return v.Redirect(where{Group: n.Group.Chosen, Name: n.Name}.URL() + done)
}

// check asks whether the name can be had, and says in words why not.
func (n *plan) check(v *page.Visit) (free bool, err error) {
	var answer struct {
		Free            bool `json:"nameAvailable"`
		Reason, Message string
	}
	err = v.API().Do(v.Context(), http.MethodPost, provider(v, "checkNameAvailability"), map[string]string{"name": n.Name, "type": "Microsoft.KeyVault/vaults"}, &answer)
	if err != nil || answer.Free {
		return answer.Free, err
	}
	n.Failed = answer.Message
	if answer.Reason != "AlreadyExists" {
		return false, nil
	}
	n.Failed = v.Text.Plain("vault.taken", "name", n.Name)
	list, err := deletedVaults(v)
	if access.Unseen(err) {
		return false, nil
	}
	for _, d := range list {
		if strings.EqualFold(d.Name, n.Name) {
			n.Deleted, n.Failed = &d, v.Text.Plain("vault.taken.deleted", "name", n.Name)
		}
	}
	return false, err
}

func (n *plan) create(v *page.Visit) error {
	days, err := strconv.Atoi(n.Days)
	if err != nil {
		n.Failed = v.Text.Plain("vault.days.bad")
		return nil
	}
	properties := map[string]any{
		"sku": map[string]string{"family": "A", "name": "standard"}, "enableRbacAuthorization": !n.Policies, "accessPolicies": []any{},
		"enableSoftDelete": true, "softDeleteRetentionInDays": days,
	}
	if n.Protected {
		properties["enablePurgeProtection"] = true
	}
	group, location, err := groups.Ensure(v, n.Group.Chosen)
	if err != nil {
		return err
	}
	at := group + "/providers/Microsoft.KeyVault" + client.Path("vaults", n.Name)
	return v.API().Create(v.Context(), at, map[string]any{"location": location, "properties": properties}, nil)
}

// let lets whoever made a vault use its secrets.
func (n *plan) let(v *page.Visit) error {
	w := where{v.Site().SubscriptionID, n.Group.Chosen, n.Name}
	return access.Let(v, w.Path(), access.Manages, v.Session.ObjectID)
}
