package portal_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// containerLogs is where the log of the container app is.
const containerLogs = "/portal/containers/rg/shop/logs"

// speaker runs a container app "shop" whose container writes what is written to a file;
// say writes to it.
func speaker(t *testing.T) (p *platformtest.Platform, say func(lines ...string)) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	p = container(t, func(_ *platformtest.Platform, body map[string]any) {
		properties := body["properties"].(map[string]any)
		properties["configuration"] = map[string]any{"activeRevisionsMode": "Single"}
		template := properties["template"].(map[string]any)
		template["scale"] = map[string]any{"minReplicas": 1, "maxReplicas": 1}
		main := template["containers"].([]any)[0].(map[string]any)
		delete(main, "env")
		main["command"] = []string{"tail", "-n", "+1", "-f", file.Name()}
	})
	settled(t, p, "Succeeded")
	return p, func(lines ...string) {
		t.Helper()
		if _, err := file.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLinesOfAContainerAppear has a container write while its page is open, hostile
// lines and many at once too, and reads what happened to the app.
func TestLinesOfAContainerAppear(t *testing.T) {
	p, say := speaker(t)
	say("before anybody looked")
	b := open(t)
	b.signIn(p)
	b.visit(p.Cred.Endpoint + "/portal/containers/rg/shop")
	b.press(`.tabs a[href="` + containerLogs + `"]`)
	b.see("before anybody looked")
	b.see("New lines are added")
	say("a parcel was sent")
	b.soon("a parcel was sent")
	say("<img src=x onerror=alert(1)> \x1b[31mred\x1b[0m \x1b]0;t\x07 \u202eevil")
	b.see("<img src=x onerror=alert(1)> red")
	if n := eval[int](b, `document.querySelectorAll('#log img, #log script').length`); n != 0 {
		t.Errorf("a line became %d elements", n)
	}
	b.press("#log-pause")
	b.see("Paused")
	say("while it was paused")
	b.press("#log-pause")
	b.see("while it was paused")
	if n := eval[int](b, `[...document.querySelectorAll('#log .said')].filter(e => e.textContent === 'a parcel was sent').length`); n != 1 {
		t.Errorf("a line is there %d times", n)
	}
	many := make([]string, 10_000)
	for i := range many {
		many[i] = fmt.Sprintf("flood %d of many lines that say next to nothing", i)
	}
	before := heap()
	for range 5 {
		say(many...)
	}
	say("the end of it")
	b.see("the end of it")
	b.see("lines were left out here")
	if grown := heap() - before; grown > 40<<20 {
		t.Errorf("%d MiB are kept", grown>>20)
	}
	say("another parcel")
	platformtest.Until(t, "the line is found by its text", func() bool {
		b.visit(p.Cred.Endpoint + containerLogs + "?text=PARCEL")
		return strings.Contains(b.text(), "another parcel")
	})
	if n := eval[int](b, `document.querySelectorAll('#log .line').length`); n > 1 {
		t.Errorf("%d lines have the text", n)
	}
	b.visit(p.Cred.Endpoint + containerLogs + "?place=system")
	b.see("Started")
	b.visit(p.Cred.Endpoint + containerLogs + "?place=" + url.QueryEscape("gone|gone|gone"))
	b.see("does not run any more")
}

// TestLogsOfContainersReadWell looks at them, and reads them without scripts and as
// somebody who may not.
func TestLogsOfContainersReadWell(t *testing.T) {
	p, say := speaker(t)
	say("2026-11-22T12:00:00Z INFO a parcel was sent", `{"level":"error","msg":"the table is missing","at":"`+strings.Repeat("wide", 60)+`"}`)
	b := open(t)
	b.signIn(p)
	b.visit(p.Cred.Endpoint + containerLogs)
	b.see("a parcel was sent")
	lookAt(t, b, p, look{"container-logs", containerLogs, "a parcel was sent"}, look{"container-logs-system", containerLogs + "?place=system", "Started"},
		look{"container-logs-gone", containerLogs + "?place=gone", "does not run any more"})
	plain := open(t)
	plain.withoutScripts()
	plain.signIn(p)
	plain.visit(p.Cred.Endpoint + containerLogs)
	plain.see("a parcel was sent")
	within(plain, chromedp.SetValue("#place", "system"))
	plain.press("form.logform button")
	plain.see("What happened to the app")
	other := open(t)
	other.useLink(admit(t, p, "looker", reader, box(p)))
	other.visit(p.Cred.Endpoint + containerLogs)
	other.see("Your roles do not let you read what this app writes")
}
