package portal_test

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/png"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// pictures is the environment variable that has the pictures of the documentation
// taken; its value is the folder they go to.
const pictures = "LATCHKEY_PORTAL_PICTURES"

// maxPicture bounds one of them, in bytes.
const maxPicture = 100 << 10

// shop runs an installation as people have one: three apps, one of which reads a
// secret of a vault, has another red reference, and was called with a wrong key. It
// gives the id of the refusal.
func shop(t *testing.T) (p *platformtest.Platform, refusal string) {
	t.Helper()
	p = platformtest.Start(t, platformtest.Config{})
	up := platformtest.Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }))
	for app, functions := range map[string][]string{"orders": {"hello", "create", "cancel"}, "billing": {"charge", "refund"}, "mailer": {"send"}} {
		p.CreateApp(t, app, up)
		p.Deploy(t, app, platformtest.Package(t, functions, nil))
	}
	group := p.Subscription() + "/resourceGroups/rg"
	vault := withVault(t, p)
	p.Do(t, http.MethodPatch, p.Site("orders"), map[string]any{"identity": map[string]any{"type": "SystemAssigned"}}, nil)
	var site struct {
		Identity struct{ PrincipalID string }
	}
	p.Do(t, http.MethodGet, p.Site("orders"), nil, &site)
	for i, who := range []string{site.Identity.PrincipalID, ownerID(t, p)} {
		const officer = "/providers/Microsoft.Authorization/roleDefinitions/b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
		p.Do(t, http.MethodPut, vault+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-00000000000"+string(rune('1'+i))+"?api-version=2022-04-01",
			map[string]any{"properties": map[string]any{"roleDefinitionId": officer, "principalId": who}}, nil)
	}
	p.Do(t, http.MethodPut, group+"/providers/Microsoft.KeyVault/vaults/partners?api-version=2023-07-01", map[string]any{"location": "local", "properties": map[string]any{
		"tenantId": p.Cred.TenantID, "sku": map[string]any{"family": "A", "name": "standard"}, "enableRbacAuthorization": true}}, nil)
	var settings struct {
		Properties map[string]string `json:"properties"`
	}
	p.Do(t, http.MethodPost, p.Site("orders")+"/config/appsettings/list", nil, &settings)
	settings.Properties["PARTNER_TOKEN"] = "@Microsoft.KeyVault(VaultName=partners;SecretName=token)"
	p.Do(t, http.MethodPut, p.Site("orders")+"/config/appsettings", settings, nil)
	key := func(name string, properties map[string]any) {
		p.Do(t, http.MethodPut, p.Site("orders")+"/host/default/functionKeys/"+name, map[string]any{"properties": properties}, nil)
	}
	key("acme", map[string]any{"note": "ACME Ltd., new orders", "owner": "partners@example.com", "expires": "2031-01-31T12:00:00Z", "methods": []string{"POST"}})
	key("mobile", map[string]any{"note": "Mobile app", "owner": "mobile team"})
	p.Do(t, http.MethodPost, p.Site("orders")+"/host/default/functionKeys/mobile/rotate", map[string]string{"overlap": "7d"}, nil)
	_, good := p.HostKeys(t, "orders")
	for range 12 {
		p.Call(t, "orders", "/api/hello", good)
	}
	return p, refused(t, p, "a-key-from-before-it-was-renewed")
}

// TestPicturesOfTheDocumentation takes the pictures in docs/portal.md of an
// installation as people have one.
func TestPicturesOfTheDocumentation(t *testing.T) {
	into := os.Getenv(pictures)
	if into == "" {
		t.Skip("make docs-portal takes them")
	}
	patient(t)
	chromium(t)
	p, refusal := shop(t)
	b := open(t)
	b.signIn(p)
	b.theme("light")
	within(b, chromedp.EmulateViewport(1280, 720))
	app := "/portal/apps/rg/orders"
	for _, pg := range []look{
		{"home", "/portal/", "PARTNER_TOKEN"}, {"app", app, "Instances"}, {"app-keys", app + "/keys", "Master key"}, {"renew", app + "/keys/host/default/do/renew", "Renew and save"},
		{"why", "/portal/why?id=" + url.QueryEscape(refusal), "no key of this app"}, {"references", app + "/configuration", "PARTNER_TOKEN"},
		{"identity", app + "/identity", "Can this app read that secret?"}, {"secret", "/portal/vaults/rg/lab/secrets/db", "DB_PASSWORD"},
	} {
		b.visit(p.Cred.Endpoint + pg.path)
		b.see(pg.says)
		b.still(pg.name)
		b.picture(into, pg.name)
	}
}

// picture leaves a small picture of the whole page.
func (b *browser) picture(into, name string) {
	b.t.Helper()
	full, err := png.Decode(bytes.NewReader(within(b, chromedp.FullScreenshot(100))))
	if err != nil {
		b.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, fewer(full)); err != nil {
		b.t.Fatal(err)
	}
	if out.Len() > maxPicture {
		b.t.Errorf("the picture %s has %d bytes", name, out.Len())
	}
	if err := os.MkdirAll(into, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(into, name+".png"), out.Bytes(), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// fewer paints a picture with the 256 colours that it has most of, which is nearly
// all of them on our pages.
func fewer(full image.Image) *image.Paletted {
	counts := map[color.RGBA]int{}
	box := full.Bounds()
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(full.At(x, y)).(color.RGBA) }
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			counts[at(x, y)]++
		}
	}
	all := slices.SortedFunc(maps.Keys(counts), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	index := map[color.RGBA]uint8{}
	for i, c := range all {
		if i < 256 {
			palette = append(palette, c)
			index[c] = uint8(i)
			continue
		}
		index[c] = uint8(palette.Index(c))
	}
	small := image.NewPaletted(box, palette)
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			small.SetColorIndex(x, y, index[at(x, y)])
		}
	}
	return small
}
