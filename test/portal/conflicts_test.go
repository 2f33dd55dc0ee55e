package portal_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// contributor is the role that may change everything but roles.
const contributor = "b24988ac-6180-42a0-ab88-20f7382dd24c"

// admit makes a principal with a role at a scope, and gives a link that signs in as it.
func admit(t *testing.T, p *platformtest.Platform, name, role, scope string) string {
	t.Helper()
	const principals = "/providers/Latchkey.Directory/principals"
	var who struct{ ObjectID, AppID string }
	p.Do(t, http.MethodPost, principals, map[string]any{"name": name}, &who)
	var secret struct{ Secret string }
	p.Do(t, http.MethodPost, principals+"/"+who.ObjectID+"/addSecret", map[string]any{}, &secret)
	p.Do(t, http.MethodPut, scope+"/providers/Microsoft.Authorization/roleAssignments/"+uuid.NewString(), map[string]any{
		"properties": map[string]any{"roleDefinitionId": role, "principalId": who.ObjectID}}, nil)
	cred := p.Cred
	cred.ClientID, cred.ClientSecret = who.AppID, secret.Secret
	c, err := armclient.New(cred)
	if err != nil {
		t.Fatal(err)
	}
	var link struct{ URL string }
	if err := c.Do(t.Context(), http.MethodPost, "/providers/Latchkey.Platform/portal/signInLink", nil, &link); err != nil {
		t.Fatal(err)
	}
	return link.URL
}

// useLink signs in with a link.
func (b *browser) useLink(link string) {
	b.t.Helper()
	b.visit(link)
	b.press("main button")
	b.see("Worth a look")
}

// shown shows the key's value on the page about it.
func (b *browser) shown(key string) string {
	b.t.Helper()
	b.visit(key)
	b.press(`form[action$="/show"] button`)
	return within(b, chromedp.Text("code.value", chromedp.NodeVisible))
}

// TestOfTwoWhoRenewAKeyOneDoes has two people send the same form at the same time: one
// has renewed the key and the value that is shown works, the other is told that
// somebody was faster, and what to do. Then forms that were opened before that are
// sent: none of them changes anything, whoever did it is named to those who may know,
// and so it is for a key that is gone.
func TestOfTwoWhoRenewAKeyOneDoes(t *testing.T) {
	p := start(t)
	_, before := p.HostKeys(t, "orders")
	key := p.Cred.Endpoint + "/portal/apps/rg/orders/keys/host/default"
	one, two := open(t), open(t)
	one.signIn(p)
	two.useLink(admit(t, p, "robin", contributor, p.Site("orders")))
	for _, b := range []*browser{one, two} {
		b.visit(key + "/do/renew")
		within(b, chromedp.WaitVisible("form button.danger"))
	}
	for _, b := range []*browser{one, two} { // neither waits for the other
		eval[bool](b, `setTimeout(() => document.querySelector('main form button.danger').click(), 200) > 0`)
	}
	var won []*browser
	platformtest.Until(t, "both are answered", func() bool {
		won = nil
		answered := 0
		for _, b := range []*browser{one, two} {
			text := b.text()
			if strings.Contains(text, "has a new value") {
				won = append(won, b)
				answered++
			} else if strings.Contains(text, "Somebody was faster") && strings.Contains(text, "Nothing was done by you") {
				answered++
			}
		}
		return answered == 2
	})
	if len(won) != 1 {
		t.Fatalf("%d have renewed the key", len(won))
	}
	value := won[0].shown(key)
	for text, want := range map[string]int{value: http.StatusOK, before: http.StatusUnauthorized} {
		if status, _ := p.Call(t, "orders", "/api/hello", text); status != want {
			t.Errorf("with a value: %d, want %d", status, want)
		}
	}

	// Forms that lie open while the other does something.
	one.visit(key + "/do/renew")
	two.visit(key + "/do/rotate")
	two.press("form button.main")
	two.see("Former values that still work")
	_, rotated := p.HostKeys(t, "orders")
	one.press("form button.danger")
	one.see("robin")
	one.see("rotated it")
	one.see("do not renew it again")
	one.shoot("key-conflict")

	two.visit(key + "/do/endoverlap")
	one.press(`main a.button[href$="/do/renew"]`) // the form again, made for the key as it is now
	one.press("form button.danger")
	one.see("has a new value")
	two.press("form button.danger")
	two.see("Somebody was faster")
	two.see("Your roles do not show you the audit record")
	_, renewed := p.HostKeys(t, "orders")
	if status, _ := p.Call(t, "orders", "/api/hello", renewed); status != http.StatusOK || renewed == rotated {
		t.Errorf("with the value of who came first: %d", status)
	}

	one.visit(key + "/edit")
	within(one, chromedp.SetValue("#note", "mine"))
	two.visit(key + "/do/delete")
	two.press("form button.danger")
	two.see("is deleted")
	one.press("main form button.main")
	one.see("was deleted after you opened the form")
	one.see("robin")
	one.press(`main a.button.main`)
	one.see("Master key")
}

// TestTimesAreFilledInAsTheViewersClockHasThem in a zone that is not UTC and has
// summer time: what is typed is meant there and then, and shown again as it was typed.
// Without scripts the form says UTC, and means it.
func TestTimesAreFilledInAsTheViewersClockHasThem(t *testing.T) {
	p := start(t)
	p.HostKeys(t, "orders")
	key := p.Site("orders") + "/host/default/functionKeys/default"
	kept := func() (from, until string) {
		var k struct {
			Properties struct{ NotBefore, Expires string }
		}
		p.Do(t, http.MethodGet, key, nil, &k)
		return k.Properties.NotBefore, k.Properties.Expires
	}
	b := open(t)
	b.signIn(p)
	ctx := b.ctx
	if _, err := chromedp.Call(ctx, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "America/New_York"}); err != nil {
		t.Fatal(err)
	}
	edit := p.Cred.Endpoint + "/portal/apps/rg/orders/keys/host/default/edit"
	b.visit(edit)
	b.see("In your time zone (America/New_York)")
	b.fill("#notbefore", "2026-01-15T08:00") // winter: five hours
	b.fill("#expires", "2030-07-15T08:00")   // summer: four
	b.press("main form button.main")
	b.see("is saved")
	if from, until := kept(); from != "2026-01-15T13:00:00Z" || until != "2030-07-15T12:00:00Z" {
		t.Errorf("kept: from %s until %s", from, until)
	}
	b.visit(edit)
	if text := eval[string](b, `document.querySelector('#notbefore').value + ' ' + document.querySelector('#expires').value`); text != "2026-01-15T08:00 2030-07-15T08:00" {
		t.Errorf("the form shows %s", text)
	}
	b.fill("#cidrs", "10.0.0.0/99") // refused: the times are as they were filled in
	b.fill("#expires", "2031-07-15T09:30")
	b.press("main form button.main")
	b.see("This was not done")
	if text := eval[string](b, `document.querySelector('#notbefore').value + ' ' + document.querySelector('#expires').value`); text != "2026-01-15T08:00 2031-07-15T09:30" {
		t.Errorf("after a refusal the form shows %s", text)
	}
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders/keys/host/default/do/expire")
	b.fill("#at", "2029-12-01T10:00")
	b.press("main form button.danger")
	b.see("is set")
	if _, until := kept(); until != "2029-12-01T15:00:00Z" {
		t.Errorf("the end is %s", until)
	}
	b.withoutScripts()
	b.visit(edit)
	b.see("This is in UTC")
	if text := within(b, chromedp.Value("#expires")); text != "2029-12-01T15:00" {
		t.Errorf("without scripts the form shows %s", text)
	}
	within(b, chromedp.SetValue("#expires", "2029-12-02T16:00"))
	b.press("main form button.main")
	b.see("is saved")
	if _, until := kept(); until != "2029-12-02T16:00:00Z" {
		t.Errorf("without scripts the end is %s", until)
	}
}

// fill sets a field as somebody who types in it does.
func (b *browser) fill(selector, value string) {
	b.t.Helper()
	within(b, chromedp.SetValue(selector, value))
	eval[bool](b, `document.querySelector('`+selector+`').dispatchEvent(new Event('input', {bubbles: true}))`)
}
