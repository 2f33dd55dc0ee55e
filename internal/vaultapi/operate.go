package vaultapi

import (
	"net/http"

	"github.com/latchkey/latchkey/internal/vault/secrets"
)

// operate does what needs no body.
func (x *exchange) operate() (reply, error) {
	x.handled = true
	switch x.target.endpoint {
	case getSecret:
		return x.get()
	case deleteSecret:
		d, err := x.Secrets.Delete(x.r.Context(), x.vault, x.target.name)
		return x.deleted(d, err)
	case getDeleted:
		d, err := x.Secrets.GetDeleted(x.r.Context(), x.vault, x.target.name)
		return x.deleted(d, err)
	case recoverDeleted:
		p, err := x.Secrets.Recover(x.r.Context(), x.vault, x.target.name)
		return x.properties(p, err)
	case purgeDeleted:
		if err := x.Secrets.Purge(x.r.Context(), x.vault, x.target.name); err != nil {
			return reply{}, err
		}
		return reply{status: http.StatusNoContent}, nil
	case backupSecret:
		return x.backup()
	case listDeleted:
		return x.listDeleted()
	}
	return x.list()
}

func (x *exchange) get() (reply, error) {
	b, err := x.Secrets.Get(x.r.Context(), x.vault, x.target.name, x.target.version)
	if err != nil {
		return reply{}, err
	}
	return x.bundle(b), nil
}

func (x *exchange) set(m members) (reply, error) {
	value, err := m.text("value")
	if err == nil && value == nil {
		err = badParameter("Property value is missing.")
	}
	if err != nil {
		return reply{}, err
	}
	a, err := readAttributes(m)
	if err != nil {
		return reply{}, err
	}
	x.handled = true
	b, err := x.Secrets.Set(x.r.Context(), x.vault, x.target.name, *value, a)
	if err != nil {
		return reply{}, err
	}
	return x.bundle(b), nil
}

func (x *exchange) update(m members) (reply, error) {
	a, err := readAttributes(m)
	if err != nil {
		return reply{}, err
	}
	x.handled = true
	p, err := x.Secrets.Update(x.r.Context(), x.vault, x.target.name, x.target.version, a)
	return x.properties(p, err)
}

func (x *exchange) restore(m members) (reply, error) {
	blob, err := m.text("value")
	if err == nil && blob == nil {
		err = badParameter("Property value is missing.")
	}
	if err != nil {
		return reply{}, err
	}
	x.handled = true
	p, err := x.Secrets.Restore(x.r.Context(), x.vault, *blob)
	x.event.Secret = p.Name
	return x.properties(p, err)
}

// readAttributes reads what can be set besides the value. What is null stays as
// it is, as in the cloud, where a time once set cannot be taken away again.
func readAttributes(m members) (a secrets.Attributes, err error) {
	if a.ContentType, err = m.text("contentType"); err != nil {
		return a, err
	}
	if a.Tags, err = m.texts("tags"); err != nil {
		return a, err
	}
	of, err := m.object("attributes")
	if err != nil {
		return a, err
	}
	if a.Enabled, err = of.flag("attributes.enabled"); err != nil {
		return a, err
	}
	if a.NotBefore, err = of.moment("attributes.nbf"); err != nil {
		return a, err
	}
	a.Expires, err = of.moment("attributes.exp")
	return a, err
}

func (x *exchange) backup() (reply, error) {
	blob, err := x.Secrets.Backup(x.r.Context(), x.vault, x.target.name)
	if err != nil {
		return reply{}, err
	}
	body := make([]byte, 0, len(blob)+16)
	body = appendMember(append(body, '{'), "value", blob)
	return reply{http.StatusOK, append(body, '}')}, nil
}

func (x *exchange) list() (re reply, err error) {
	if x.startsEmpty() {
		return x.emptyPage(), nil
	}
	var list []secrets.Properties
	var next string
	page, versions := secrets.Page{After: x.query.marker, Limit: x.query.maxResults}, x.target.endpoint == listVersions
	if versions {
		list, next, err = x.Secrets.Versions(x.r.Context(), x.vault, x.target.name, page)
	} else {
		list, next, err = x.Secrets.List(x.r.Context(), x.vault, page)
	}
	if err != nil {
		return reply{}, err
	}
	f := x.form()
	b := append(make([]byte, 0, 512*(len(list)+1)), `{"value":[`...)
	for i := range list {
		if !versions {
			list[i].Version = ""
		}
		b = f.item(comma(b), &list[i])
	}
	return x.paged(b, next), nil
}

func (x *exchange) listDeleted() (reply, error) {
	if x.startsEmpty() {
		return x.emptyPage(), nil
	}
	list, next, err := x.Secrets.Deleted(x.r.Context(), x.vault, secrets.Page{After: x.query.marker, Limit: x.query.maxResults})
	if err != nil {
		return reply{}, err
	}
	f := x.form()
	b := append(make([]byte, 0, 512*(len(list)+1)), `{"value":[`...)
	for i := range list {
		list[i].Version = ""
		b = f.deleted(comma(b), &list[i])
	}
	return x.paged(b, next), nil
}
