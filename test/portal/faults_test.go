package portal_test

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/testkit/localissuer"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// leave signs out in another tab, as far as the page that is shown can tell.
func (b *browser) leave() {
	b.t.Helper()
	if status := eval[int](b, `fetch('/portal/signout', {method: 'POST', redirect: 'manual', body: new URLSearchParams({csrf: document.querySelector('[name=csrf]').value})}).then((r) => r.status)`); status != 0 {
		b.t.Fatalf("signing out elsewhere: %d", status) // a redirect that is not followed has no status
	}
}

// TestALinkThatDoesNotWorkSaysSo uses a link twice, and one that never was.
func TestALinkThatDoesNotWorkSaysSo(t *testing.T) {
	p := start(t)
	b := open(t)
	once := link(t, p)
	b.visit(once)
	b.press("main button")
	b.see("Worth a look")
	b.leave()
	for _, address := range []string{once, p.Cred.Endpoint + "/portal/signin?link=" + strings.Repeat("x", 60), p.Cred.Endpoint + "/portal/signin?link=%00%ff<script>"} {
		b.visit(address)
		b.see("This link does not work any more")
		b.see("latchkey portal")
	}
	lookAt(t, b, p, look{"signin-bad", "/portal/signin?link=none", "does not work any more"})
}

// TestAFormOfASessionThatEndedDoesNothing confirms the renewal of a key after the
// session has ended in another tab, and with a form that was made for another session:
// the page says that nothing was done and how to go on.
func TestAFormOfASessionThatEndedDoesNothing(t *testing.T) {
	p := start(t)
	_, before := p.HostKeys(t, "orders")
	b := open(t)
	b.signIn(p)
	renew := p.Cred.Endpoint + "/portal/apps/rg/orders/keys/host/default/do/renew"
	b.visit(renew)
	proof := eval[string](b, `document.querySelector('main [name=csrf]').value`)
	b.leave()
	b.press("form button.danger")
	b.see("Your session has ended")
	b.see("was not done. Nothing was changed")
	b.see("latchkey portal")
	if at := b.where(); !strings.Contains(at, "next=%2Fportal%2Fapps%2Frg%2Forders%2Fkeys%2Fhost%2Fdefault%2Fdo%2Frenew") {
		t.Errorf("signing in leads elsewhere: %s", at)
	}
	b.shoot("signin-over")
	b.signIn(p)
	b.visit(renew)
	eval[any](b, `document.querySelector('main [name=csrf]').value = '`+proof+`', null`)
	b.press("form button.danger")
	b.see("This form is old")
	b.see("go back, load the page anew and try again")
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders/keys")
	b.leave()
	b.press(`form[action$="/host/default/show"] button`) // by a script
	b.see("Your session has ended")
	if _, after := p.HostKeys(t, "orders"); after != before {
		t.Error("the key was renewed all the same")
	}
}

// TestAPageThatIsOpenTellsThatTheSessionIsOver signs out in another tab.
func TestAPageThatIsOpenTellsThatTheSessionIsOver(t *testing.T) {
	p := start(t)
	b := open(t)
	b.signIn(p)
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders")
	b.see("Instances")
	b.leave()
	p.Do(t, http.MethodPost, p.Site("orders")+"/stop", nil, nil) // something to tell
	b.see("Your session has ended")
	if text := b.text(); strings.Contains(text, "Instances") {
		t.Error("the page still shows the app")
	}
}

// TestALostConnectionIsSaid stops the node while a page is open: the page says so,
// and that the connection is back, and shows what is then.
func TestALostConnectionIsSaid(t *testing.T) {
	patient(t)
	chromium(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	p := platformtest.Start(t, platformtest.Config{Management: address}) // the same when it is started again
	p.CreateApp(t, "orders", platformtest.Upstream(t, http.NotFoundHandler()))
	p.Deploy(t, "orders", platformtest.Package(t, []string{"hello"}, nil))
	b := open(t)
	b.signIn(p)
	for _, fault := range []string{"ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_HTTP2", "ERR_CONNECTION_CLOSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "htmx:", "Send Error", "status of 5"} {
		b.tolerate(fault)
	}
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders")
	b.see("Instances")
	p.Stop(t)
	b.see("The connection is lost")
	b.shoot("lost")
	if text := b.text(); !strings.Contains(text, "Instances") {
		t.Error("the page does not show what it knew")
	}
	p.Restart(t)
	b.see("The connection is back")
	p.Do(t, http.MethodPost, p.Site("orders")+"/stop", nil, nil)
	b.see("Stopped")
}

// TestWhatIsNotThereIsSaid opens addresses that lead nowhere, signed in and not.
func TestWhatIsNotThereIsSaid(t *testing.T) {
	p := start(t)
	b := open(t)
	b.visit(p.Cred.Endpoint + "/portal/nothing/here")
	b.see("Not found")
	b.visit(p.Cred.Endpoint + "/portal/apps/rg/orders")
	b.see("latchkey portal")
	if text := b.text(); strings.Contains(text, "Your session has ended") {
		t.Error("who was never signed in is told of a session")
	}
	b.signIn(p)
	for _, path := range []string{
		"/portal/nothing/here", "/portal/apps/rg/none", "/portal/apps/none/orders", "/portal/apps/rg/orders/keys/host/none", "/portal/apps/rg/orders/keys/none/none",
		"/portal/apps/rg/orders/functions/none", "/portal/apps/rg/orders/keys/host/default/do/none", "/portal/vaults/rg/none", "/portal/containers/rg/none", "/portal/apps/" + url.PathEscape("a/b") + "/%2e%2e",
	} {
		b.visit(p.Cred.Endpoint + path)
		b.see("Not found")
		b.see("To the apps")
	}
}

// roleless makes somebody without any role and gives a link that signs in as them.
func roleless(t *testing.T, p *platformtest.Platform, name string) (id, link string) {
	t.Helper()
	const principals = "/providers/Latchkey.Directory/principals"
	var who struct{ ObjectID, AppID string }
	p.Do(t, http.MethodPost, principals, map[string]any{"name": name}, &who)
	var secret struct{ Secret string }
	p.Do(t, http.MethodPost, principals+"/"+who.ObjectID+"/addSecret", map[string]any{}, &secret)
	cred := p.Cred
	cred.ClientID, cred.ClientSecret = who.AppID, secret.Secret
	as, err := armclient.New(cred)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ URL string }
	if err := as.Do(t.Context(), http.MethodPost, "/providers/Latchkey.Platform/portal/signInLink", nil, &answer); err != nil {
		t.Fatal(err)
	}
	return who.ObjectID, answer.URL
}

// TestWhoHasNoRoleReadsWhatToDo signs in as somebody without any role: each page says
// what is missing, and none is empty.
func TestWhoHasNoRoleReadsWhatToDo(t *testing.T) {
	p := start(t)
	_, address := roleless(t, p, "robin")
	b := open(t)
	b.visit(address)
	b.see("robin")
	b.press("main button")
	lookAt(t, b, p, look{"roleless-home", "/portal/", "ask somebody who may assign roles"})
	for _, path := range []string{"/portal/containers", "/portal/vaults", "/portal/audit", "/portal/why", "/portal/apps/rg/orders", "/portal/apps/rg/orders/keys", "/portal/apps/rg/orders/configuration", "/portal/apps/rg/orders/identity"} {
		b.visit(p.Cred.Endpoint + path)
		if words := strings.Fields(eval[string](b, `document.querySelector('main').innerText`)); len(words) < 8 {
			t.Errorf("%s says no more than %q", path, words)
		}
		if strings.Contains(path, "/orders") {
			b.see("Your roles do not allow this")
		}
	}
}

// TestTheProviderSaysNo comes back from a provider that refuses, from one whose answer
// was used before, and as somebody whom nobody knows here.
func TestTheProviderSaysNo(t *testing.T) {
	patient(t)
	chromium(t)
	i := localissuer.Start(t, time.Now)
	cfg := platformtest.Config{}
	cfg.Portal.Issuer.Issuer, cfg.Portal.Issuer.ClientID, cfg.Portal.Issuer.ClientSecret = i.URL, localissuer.Client, localissuer.Secret
	cfg.Portal.Issuer.Name, cfg.Portal.Issuer.Client = "Example Inc.", i.Client()
	p := platformtest.Start(t, cfg)
	b := open(t)
	signIn := func() {
		b.visit(p.Cred.Endpoint + "/portal/signin")
		b.press("main a.button.main")
	}
	signIn()
	b.see("nobody is registered here as that")
	b.see("latchkey principal create")
	b.shoot("signin-unknown")
	last := b.where()
	b.visit(last)
	b.see("could not be used")
	i.Query = func(answer url.Values) {
		answer.Del("code")
		answer.Set("error", "access_denied")
		answer.Set("error_description", hostile)
	}
	signIn()
	b.see("You were not let in")
	b.see("Nothing has happened")
	within(b, chromedp.Click(`main a[href="/portal/signin"]`))
	b.see("Sign in with Example Inc.")
}
