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
	if err := v.timePages(ctx, o); err != nil {
		return err
	}
	if err := v.weigh(ctx); err != nil {
		return err
	}
	return v.crowd(ctx, n)
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
func (v *viewer) timePages(ctx context.Context, o options) error {
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
	fmt.Printf("\n### Portal\n\n%d apps; milliseconds until the whole page is there, over TLS on a connection that stays.\n\n| page | median | 95 %% |\n|---|---|---|\n", portalApps)
	for i, p := range pages {
		fmt.Printf("| %s | %.1f | %.1f |\n", p.name, ms(middle(took[i])), ms(quantile(took[i], 0.95)))
	}
	return nil
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

// crowd has viewers listen on a page that nothing changes on.
func (v *viewer) crowd(ctx context.Context, n *node) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range portalViewers {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.base+"/portal/events", nil)
		if err != nil {
			return err
		}
		answer, err := v.client.Do(r)
		if err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			_ = answer.Body.Close()
			return fmt.Errorf("viewer %d: %s", i, answer.Status)
		}
		go func() {
			defer answer.Body.Close()
			for s := bufio.NewScanner(answer.Body); s.Scan(); { // what comes is counted by nobody
			}
		}()
	}
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
