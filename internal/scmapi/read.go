package scmapi

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/release"
	"github.com/latchkey/latchkey/internal/web"
)

// deploymentJSON is a deployment on the wire.
type deploymentJSON struct {
	ID             string     `json:"id"`
	Status         int        `json:"status"`
	StatusText     string     `json:"status_text"`
	AuthorEmail    string     `json:"author_email"`
	Author         string     `json:"author"`
	Deployer       string     `json:"deployer"`
	Message        string     `json:"message"`
	Progress       string     `json:"progress"`
	Received       time.Time  `json:"received_time"`
	Start          time.Time  `json:"start_time"`
	End            *time.Time `json:"end_time"`
	LastSuccessEnd *time.Time `json:"last_success_end_time"`
	Complete       bool       `json:"complete"`
	Active         bool       `json:"active"`
	IsTemp         bool       `json:"is_temp"`
	IsReadOnly     bool       `json:"is_readonly"`
	URL            string     `json:"url"`
	LogURL         string     `json:"log_url"`
	SiteName       string     `json:"site_name"`
}

// deployment describes a release; busy is the one being deployed now.
func (x *exchange) deployment(rel release.Release, busy string) deploymentJSON {
	phase, text := rel.Phase(busy)
	d := deploymentJSON{
		ID: rel.ID, Status: int(phase), StatusText: text,
		AuthorEmail: "N/A", Author: orNA(rel.Author), Deployer: rel.Deployer, Message: rel.Message,
		Received: rel.Created, Start: rel.Created,
		Complete: phase.Over(), Active: rel.ID == x.site.Release, IsReadOnly: true,
		URL: x.url("/api/deployments/" + rel.ID), LogURL: x.url("/api/deployments/" + rel.ID + "/log"),
		SiteName: x.site.Name,
	}
	if !d.Complete {
		d.Progress = text
	} else if !rel.Finished.IsZero() {
		d.End = &rel.Finished
	}
	if phase == release.Succeeded {
		d.LastSuccessEnd = d.End
	}
	return d
}

func orNA(s string) string {
	if s == "" {
		return "N/A"
	}
	return s
}

func (x *exchange) list(_ string) error {
	all, busy, err := x.releases()
	if err != nil {
		return err
	}
	answer := make([]deploymentJSON, len(all))
	for i, rel := range all {
		answer[i] = x.deployment(rel, busy)
	}
	web.WriteJSON(x.w, http.StatusOK, answer)
	return nil
}

// releases reads who is at work before the releases: what was finished in between
// then reads as still in progress, never the other way round.
func (x *exchange) releases() ([]release.Release, string, error) {
	busy, err := x.api.cfg.Releases.Deploying(x.r.Context(), x.site.Name)
	if err != nil {
		return nil, "", err
	}
	all, err := x.api.cfg.Releases.List(x.r.Context(), x.site.Name)
	return all, busy, err
}

// find gives the release of an id, or the newest for "latest".
func (x *exchange) find(id string) (release.Release, string, error) {
	if !strings.EqualFold(id, "latest") {
		busy, err := x.api.cfg.Releases.Deploying(x.r.Context(), x.site.Name)
		if err != nil {
			return release.Release{}, "", err
		}
		rel, err := x.api.cfg.Releases.Get(x.r.Context(), x.site.Name, id)
		return rel, busy, err
	}
	all, busy, err := x.releases()
	if err == nil && len(all) == 0 {
		err = problem.New(problem.NotFound, "nothing was deployed to this app yet")
	}
	if err != nil {
		return release.Release{}, "", err
	}
	return all[0], busy, nil
}

// get answers 202 while the deployment goes on, which pollers of Location expect.
func (x *exchange) get(id string) error {
	rel, busy, err := x.find(id)
	if err != nil {
		return err
	}
	d, status := x.deployment(rel, busy), http.StatusOK
	if !d.Complete {
		status = http.StatusAccepted
		x.w.Header().Set("Location", x.url("/api/deployments/"+id))
		x.w.Header().Set("Retry-After", "1")
	}
	web.WriteJSON(x.w, status, d)
	return nil
}

// logJSON is a line of a deployment's log on the wire.
type logJSON struct {
	Time    time.Time `json:"log_time"`
	ID      string    `json:"id"`
	Message string    `json:"message"`
	Type    int       `json:"type"` // 0 message, 2 error
	Details *string   `json:"details_url"`
}

func (x *exchange) log(id string) error {
	rel, _, err := x.find(id)
	if err != nil {
		return err
	}
	lines := make([]logJSON, len(rel.Log))
	for i, e := range rel.Log {
		lines[i] = logJSON{Time: e.Time, ID: fmt.Sprintf("%s-%d", rel.ID, i), Message: e.Text}
		if e.Error {
			lines[i].Type = 2
		}
	}
	web.WriteJSON(x.w, http.StatusOK, lines)
	return nil
}

func (x *exchange) isDeploying(_ string) error {
	busy, err := x.api.cfg.Releases.Deploying(x.r.Context(), x.site.Name)
	if err != nil {
		return err
	}
	answer := struct {
		Value bool   `json:"value"`
		Msg   string `json:"msg"`
	}{Value: busy != ""}
	if answer.Value {
		answer.Msg = "deployment " + busy + " is in progress"
	}
	web.WriteJSON(x.w, http.StatusOK, answer)
	return nil
}

// plainSettings are the app settings that publishing clients look at. Others can
// have secrets, which are read through the management API.
var plainSettings = []string{
	"SCM_DO_BUILD_DURING_DEPLOYMENT", "ENABLE_ORYX_BUILD", "BUILD_FLAGS", "XDG_CACHE_HOME",
	"FUNCTIONS_WORKER_RUNTIME", "FUNCTIONS_EXTENSION_VERSION", "WEBSITE_RUN_FROM_PACKAGE",
}

func (x *exchange) settings(_ string) error {
	answer := map[string]string{}
	for name, value := range x.site.Settings {
		for _, plain := range plainSettings {
			if strings.EqualFold(name, plain) && !strings.Contains(value, "://") { // an address can have a signature
				answer[plain] = value
			}
		}
	}
	web.WriteJSON(x.w, http.StatusOK, answer)
	return nil
}

func (x *exchange) info(_ string) error {
	web.WriteJSON(x.w, http.StatusOK, map[string]string{"product": "latchkey", "siteName": x.site.Name})
	return nil
}

func (x *exchange) scmInfo(_ string) error {
	web.WriteJSON(x.w, http.StatusOK, map[string]any{"type": "None", "git_url": nil})
	return nil
}
