package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/latchkey/latchkey/bench/seed"
	"github.com/latchkey/latchkey/internal/armclient"
)

const (
	portalApps    = 2000
	portalViewers = 200
	portalRest    = time.Minute // that viewers are watched for: they are shown a sign of life every 25 s
)

// viewer is a browser that is signed in to the portal.
type viewer struct {
	base   string
	client *http.Client
}

// measurePortal takes the time of pages with many apps, in turns, the size of the
// first page with all that it needs, and what viewers at rest cost.
func measurePortal(ctx context.Context, o options) error {
	dir, keep := o.dir, o.dir != ""
	if !keep {
		var err error
		if dir, err = os.MkdirTemp("", "latchkey-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	if err := install(ctx, o, dir); err != nil {
		return err
	}
	if err := seed.Upto(ctx, dir, portalApps); err != nil {
		return err
	}
	n, _, err := startAnswered(ctx, o, dir)
	if err != nil {
		return err
	}
	defer n.stop()
	c, err := n.client(ctx)
	if err != nil {
		return err
	}
	v, err := enter(ctx, c)
	if err != nil {
		return err
	}
	settle(ctx, n)
	if err := v.timePages(ctx, o, n); err != nil {
		return err
	}
	if err := v.weigh(ctx); err != nil {
		return err
	}
	if err := v.live(ctx, c); err != nil {
		return err
	}
	return crowd(ctx, n, c)
}

// settle waits, for a minute at most, until the node has nothing more to do: after a
// start it looks at all apps, their keys and references.
func settle(ctx context.Context, n *node) {
	for began := time.Now(); time.Since(began) < time.Minute && ctx.Err() == nil; {
		before := ticks(n.pid())
		time.Sleep(3 * time.Second)
		if ticks(n.pid())-before < 15 { // hundredths of a second
			return
		}
	}
}

// enter signs a viewer in by a link.
func enter(ctx context.Context, c *armclient.Client) (*viewer, error) {
	var link struct{ URL string }
	if err := c.Do(ctx, http.MethodPost, "/providers/Latchkey.Platform/portal/signInLink", nil, &link); err != nil {
		return nil, err
	}
	at, err := url.Parse(link.URL)
	if err != nil {
		return nil, err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(c.Credential().CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	v := &viewer{c.Credential().Endpoint, &http.Client{Jar: jar, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableCompression: true,
		ForceAttemptHTTP2: true,
	}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, v.base+"/portal/signin", strings.NewReader(url.Values{"link": {at.Query().Get("link")}}.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	_, err = v.send(r)
	return v, err
}

// send gives the body as it came over the wire.
func (v *viewer) send(r *http.Request) ([]byte, error) {
	r.Header.Set("Accept-Encoding", "gzip")
	answer, err := v.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", r.URL, answer.Status)
	}
	return body, err
}

func (v *viewer) get(ctx context.Context, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.base+path, nil)
	if err != nil {
		return nil, err
	}
	return v.send(r)
}

// timePages asks for each page in turn, again and again.
func (v *viewer) timePages(ctx context.Context, o options, n *node) error {
	app := "/portal/apps/" + seed.GroupName(0) + "/" + seed.AppName(0)
	pages := []struct{ name, path string }{
		{"home", "/portal/"}, {"home, last page", fmt.Sprintf("/portal/?from=%d", portalApps-25)}, {"home, search", "/portal/?q=load-019"},
		{"overview", app}, {"app keys", app + "/keys"}, {"functions", app + "/functions"}, {"configuration", app + "/configuration"}, {"audit", "/portal/audit"},
	}
	took := make([][]time.Duration, len(pages))
	for round := range max(o.rounds, 3)*10 + 1 {
		for i, p := range pages {
			began := time.Now()
			if _, err := v.get(ctx, p.path); err != nil {
				return err
			}
			if round > 0 { // the first fills what is kept
				took[i] = append(took[i], time.Since(began))
			}
		}
	}
	fmt.Printf("\n### Portal\n\n%d apps; milliseconds until the whole page is there, over TLS on a connection that stays, and of the processor.\n\n| page | median | 95 %% | processor |\n|---|---|---|---|\n", portalApps)
	for i, p := range pages {
		busy, err := v.work(ctx, n, p.path)
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %.1f | %.1f | %.1f |\n", p.name, ms(middle(took[i])), ms(quantile(took[i], 0.95)), ms(busy))
	}
	return nil
}

// work gives the processor time that the node takes for a page: what else the machine
// does, which waiting depends on, is not in it.
func (v *viewer) work(ctx context.Context, n *node, path string) (time.Duration, error) {
	const times = 40
	before := ticks(n.pid())
	for range times {
		if _, err := v.get(ctx, path); err != nil {
			return 0, err
		}
	}
	return time.Duration(ticks(n.pid())-before) * 10 * time.Millisecond / times, nil // ticks are hundredths of a second
}

// weigh adds up the first page and the files that it names.
func (v *viewer) weigh(ctx context.Context) error {
	body, err := v.get(ctx, "/portal/")
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.base+"/portal/", nil)
	if err != nil {
		return err
	}
	answer, err := v.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	plain, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	total, seen := len(body), map[string]bool{}
	for _, part := range strings.Split(string(plain), `"`) {
		if strings.HasPrefix(part, "/portal/assets/") && !seen[part] {
			seen[part] = true
			file, err := v.get(ctx, part)
			if err != nil {
				return err
			}
			total += len(file)
		}
	}
	fmt.Printf("\nThe first page is %.1f KiB over the wire: the page %.1f, and %d files that are kept afterwards.\n", float64(total)/1024, float64(len(body))/1024, len(seen))
	return nil
}

// crowd has viewers listen on a page that nothing changes on. One session is not told
// for any number of pages, so that there are some.
func crowd(ctx context.Context, n *node, c *armclient.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	const each = 10 // listening pages of one sign-in
	var v *viewer
	for i := range portalViewers {
		if i%each == 0 {
			var err error
			if v, err = another(ctx, c, i/each); err != nil {
				return err
			}
		}
		body, err := v.listen(ctx)
		if err != nil {
			return fmt.Errorf("viewer %d: %w", i, err)
		}
		go func() {
			defer body.Close()
			for s := bufio.NewScanner(body); s.Scan(); { // what comes is counted by nobody
			}
		}()
	}
	settle(ctx, n) // signing in was work
	before := ticks(n.pid())
	select {
	case <-time.After(portalRest):
	case <-ctx.Done():
		return ctx.Err()
	}
	share := float64(ticks(n.pid())-before) / portalRest.Seconds() // ticks are hundredths of a second
	fmt.Printf("\n%d viewers at rest cost %.1f %% of a core.\n", portalViewers, share)
	return nil
}

// another makes a principal and signs it in.
func another(ctx context.Context, c *armclient.Client, i int) (*viewer, error) {
	const principals = "/providers/Latchkey.Directory/principals"
	var made struct{ ObjectID, AppID, Secret string }
	name := map[string]string{"name": fmt.Sprintf("viewer-%d-%d", i, time.Now().UnixNano())}
	if err := c.Do(ctx, http.MethodPost, principals, name, &made); err != nil {
		return nil, err
	}
	if err := c.Do(ctx, http.MethodPost, principals+"/"+made.ObjectID+"/addSecret", map[string]string{"name": "bench"}, &made); err != nil {
		return nil, err
	}
	credential := c.Credential()
	credential.ClientID, credential.ClientSecret = made.AppID, made.Secret
	own, err := armclient.New(credential)
	if err != nil {
		return nil, err
	}
	if err := own.SignIn(ctx); err != nil {
		return nil, err
	}
	return enter(ctx, own)
}

// listen opens the stream that tells of changes.
func (v *viewer) listen(ctx context.Context) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.base+"/portal/events", nil)
	if err != nil {
		return nil, err
	}
	answer, err := v.client.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		_ = answer.Body.Close()
		return nil, fmt.Errorf("events: %s", answer.Status)
	}
	return answer.Body, nil
}

// live takes the time from a change being made until a page that is open shows it: it
// is told, and reads the part of itself again that has what was changed.
func (v *viewer) live(ctx context.Context, c *armclient.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	body, err := v.listen(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	told := make(chan struct{}, 1)
	go func() {
		for s := bufio.NewScanner(body); s.Scan(); {
			if s.Text() == "event: change" {
				select {
				case told <- struct{}{}:
				default:
				}
			}
		}
	}()
	app := "/portal/apps/" + seed.GroupName(0) + "/" + seed.AppName(0)
	fmt.Print("\nFrom the answer to a change until an open page shows it, in milliseconds:\n\n| change | page | median | most |\n|---|---|---|---|\n")
	for _, one := range []struct {
		what, page, path string
		change           func(i int) error
		shows            func(i int) string
	}{
		{"an app is started or stopped", "overview", app, func(i int) error {
			return c.Do(ctx, http.MethodPost, sitePath(c, 0)+[]string{"/start", "/stop"}[i%2], nil, nil)
		}, func(i int) string { return []string{">Ready<", ">Stopped<"}[i%2] }},
		{"a key comes to end soon", "home", "/portal/", func(i int) error {
			ends := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
			return c.Do(ctx, http.MethodPut, sitePath(c, 0)+fmt.Sprintf("/host/default/functionKeys/live-%d", i), map[string]any{"properties": map[string]any{"expires": ends}}, nil)
		}, func(i int) string { return fmt.Sprintf("live-%d", i) }},
	} {
		var took []time.Duration
		for i := range 10 {
			time.Sleep(time.Second) // what the one before it caused is over
			select {
			case <-told:
			default:
			}
			if err := one.change(i); err != nil {
				return err
			}
			began := time.Now()
			if err := v.until(ctx, one.path, one.shows(i), told); err != nil {
				return fmt.Errorf("%s: %w", one.what, err)
			}
			took = append(took, time.Since(began))
		}
		fmt.Printf("| %s | %s | %.0f | %.0f |\n", one.what, one.page, ms(middle(took)), ms(quantile(took, 1)))
	}
	return nil
}

// until reads a page as often as it is told to, until it shows something.
func (v *viewer) until(ctx context.Context, path, shows string, told <-chan struct{}) error {
	for {
		select {
		case <-told:
		case <-ctx.Done():
			return ctx.Err()
		}
		page, err := v.part(ctx, path)
		if err != nil {
			return err
		}
		if strings.Contains(page, shows) {
			return nil
		}
	}
}

// part reads a page as the script of an open one does.
func (v *viewer) part(ctx context.Context, path string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.base+path, nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("HX-Request", "true")
	answer, err := v.client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}
